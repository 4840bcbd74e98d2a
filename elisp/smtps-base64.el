;;; smtps-base64.el --- Base64 as SMTP wants it  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The base64 of AUTH (RFC 4954 section 4; RFC 4648 section 4): of UTF-8, and
;; without line breaks ever.
;;
;; What is decoded need not be text: a server's challenge may be octets of any
;; kind.  Those that are no UTF-8 are kept as raw bytes, which Emacs shows as
;; \351 and encodes to what they were.

;;; Code:

(require 'smtps-wire)

(declare-function smtps-credentials-read "smtps-credentials" (prompt))

(define-error 'smtps-base64-error "Base64" 'smtps-error)

(defun smtps-base64--refuse (format-string &rest arguments)
  "Signal `smtps-base64-error' with FORMAT-STRING applied to ARGUMENTS."
  (signal 'smtps-base64-error (list (apply #'format format-string arguments))))

(defmacro smtps-base64-door (by-a-person &rest body)
  "Evaluate BODY; if BY-A-PERSON, show an error of base64 as a user's own.
With any other condition, Emacs would print its sentence as Lisp."
  (declare (indent 1) (debug t))
  `(condition-case err
       (progn ,@body)
     (smtps-base64-error
      (if ,by-a-person
          (user-error "%s" (cadr err))
        (signal (car err) (cdr err))))))

;;;###autoload
(defun smtps-base64-encode-string (string)
  "Return STRING in base64, as UTF-8 and without line breaks."
  (let ((octets (encode-coding-string string 'utf-8-unix)))
    (prog1 (base64-encode-string octets t)
      ;; Encoding text that is all ASCII may give the very string.
      (unless (eq octets string)
        (clear-string octets)))))

;;;###autoload
(defun smtps-base64-decode-string (string)
  "Return the text that STRING is the base64 of.
Blanks and line breaks in STRING don't count.  Octets that are no UTF-8 come
out as raw bytes.  Signal `smtps-base64-error' if STRING is not base64."
  (let ((digits (replace-regexp-in-string "[ \t\r\n]+" "" string t t)))
    (cond
     ((string-match "[^A-Za-z0-9+/=]" digits)
      (smtps-base64--refuse "“%s” is not base64, which has letters, digits, + and / only"
                            (match-string 0 digits)))
     ((not (string-match-p "\\`[^=]*=\\{0,2\\}\\'" digits))
      (smtps-base64--refuse "This is not base64: = may stand at its end only, once or twice"))
     ((/= (% (length digits) 4) 0)
      (smtps-base64--refuse
       "This is not base64: of %d characters, which is no multiple of four, some are missing"
       (length digits))))
    (condition-case nil
        (decode-coding-string (base64-decode-string digits) 'utf-8-unix)
      (error (smtps-base64--refuse "This is not base64")))))

(defun smtps-base64-visible (text)
  "Return TEXT with its control characters shown: NUL as \\0, others as \\n or ^X."
  (replace-regexp-in-string
   "[\0-\37\177]"
   (lambda (character)
     (pcase (aref character 0)
       (0 "\\0") (?\n "\\n") (?\r "\\r") (?\t "\\t") (127 "^?")
       (code (string ?^ (+ code 64)))))
   text t t))

(defun smtps-base64--replace (beg end function)
  "Replace the text from BEG to END by the value of FUNCTION for it."
  (let ((new (funcall function (buffer-substring-no-properties beg end))))
    (goto-char beg)
    (delete-region beg end)
    (insert new)))

;;;###autoload
(defun smtps-base64-encode-region (beg end)
  "Replace the text from BEG to END by its base64, without line breaks."
  (interactive "*r")
  (smtps-base64--replace beg end #'smtps-base64-encode-string))

;;;###autoload
(defun smtps-base64-decode-region (beg end)
  "Replace the base64 from BEG to END by its text.
If it is not base64 signal `smtps-base64-error', and change nothing."
  (interactive "*r")
  (smtps-base64-door (called-interactively-p 'any)
    (smtps-base64--replace beg end #'smtps-base64-decode-string)))

;;;###autoload
(defun smtps-base64-decode-at-point ()
  "Show the text of the base64 at point in the echo area, and return it.
In a 334 that a session shows, before its base64, it is that one.  It is not
kept in the buffer of messages, since it may be a secret."
  (interactive)
  (smtps-base64-door (called-interactively-p 'any)
    (let* ((digits "A-Za-z0-9+/=")
           ;; "recv" and "334" could be base64, too.
           (start (save-excursion
                    (let ((here (point)))
                      (beginning-of-line)
                      (max here (if (looking-at "recv> 334 ") (match-end 0) here)))))
           (word (save-excursion
                   (goto-char start)
                   (buffer-substring-no-properties
                    (save-excursion (skip-chars-backward digits) (point))
                    (save-excursion (skip-chars-forward digits) (point))))))
      (when (string= word "")
        (smtps-base64--refuse "There is no base64 at point"))
      (let ((text (smtps-base64-decode-string word)))
        (when (called-interactively-p 'any)
          (let ((message-log-max nil))
            (message "“%s”" (smtps-base64-visible text))))
        text))))

(defvar smtps-base64-insert-plain-function #'insert
  "Function that puts AUTH PLAIN's string, its argument, at point.")

;;;###autoload
(defun smtps-base64-auth-plain (user password)
  "Return AUTH PLAIN's one string for USER and PASSWORD (RFC 4616 section 2).
Called as a command, ask for both and insert the string at point: who has
it has the password.  In a session it is hidden, and AUTH PLAIN comes before
it where that was not typed.  Signal `smtps-base64-error' if one of the two
is empty or has a NUL."
  (interactive
   (progn
     (barf-if-buffer-read-only)
     (list (read-string "User: ")
           (progn
             (require 'smtps-credentials)
             (smtps-credentials-read "Password: ")))))
  (smtps-base64-door (called-interactively-p 'any)
    (when (or (string= user "") (string= password ""))
      (smtps-base64--refuse "AUTH PLAIN needs a user and a password; one of them is empty"))
    (when (string-match-p "\0" (concat user password))
      (smtps-base64--refuse "Neither user nor password can have a NUL in AUTH PLAIN"))
    (let* ((clear (concat "\0" user "\0" password))
           (string (smtps-base64-encode-string clear)))
      (clear-string clear)
      (when (called-interactively-p 'any)
        (clear-string password)
        (funcall smtps-base64-insert-plain-function string))
      string)))

(provide 'smtps-base64)
;;; smtps-base64.el ends here
