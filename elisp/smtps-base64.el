;;; smtps-base64.el --- Base64 as SMTP wants it  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; UTF-8, and no line breaks ever: the base64 of AUTH (RFC 4954).

;;; Code:

(require 'smtps-wire)

(define-error 'smtps-base64-error "Base64" 'smtps-error)

;;;###autoload
(defun smtps-base64-encode-string (string)
  "Return STRING in base64, as UTF-8 and without line breaks."
  (base64-encode-string (encode-coding-string string 'utf-8-unix) t))

;;;###autoload
(defun smtps-base64-decode-string (string)
  "Return the text that STRING is the base64 of.
Octets that are no UTF-8 come out as raw bytes.  Signal
`smtps-base64-error' if STRING is not base64."
  (condition-case nil
      (decode-coding-string (base64-decode-string (encode-coding-string string 'utf-8-unix))
                            'utf-8-unix)
    (error
     (signal 'smtps-base64-error
             '("This is not base64: letters, digits, + and /, with = at the end \
to make a multiple of four")))))

(defun smtps-base64--replace (beg end function)
  "Replace the text from BEG to END by the value of FUNCTION for it."
  (let ((new (funcall function (buffer-substring-no-properties beg end))))
    (save-excursion
      (goto-char beg)
      (delete-region beg end)
      (insert new))))

;;;###autoload
(defun smtps-base64-encode-region (beg end)
  "Replace the text from BEG to END by its base64, without line breaks."
  (interactive "*r")
  (smtps-base64--replace beg end #'smtps-base64-encode-string))

;;;###autoload
(defun smtps-base64-decode-region (beg end)
  "Replace the base64 from BEG to END by its text."
  (interactive "*r")
  (smtps-base64--replace beg end #'smtps-base64-decode-string))

;;;###autoload
(defun smtps-base64-decode-at-point ()
  "Show the text of the base64 at point, and return it."
  (interactive)
  (let ((beg (save-excursion (skip-chars-backward "A-Za-z0-9+/=") (point)))
        (end (save-excursion (skip-chars-forward "A-Za-z0-9+/=") (point))))
    (when (= beg end)
      (signal 'smtps-base64-error '("There is no base64 at point")))
    (let ((text (smtps-base64-decode-string (buffer-substring-no-properties beg end))))
      (when (called-interactively-p 'interactive)
        ;; %S shows a NUL and its like as what they are.
        (message "%S" text))
      text)))

;;;###autoload
(defun smtps-base64-auth-plain (user password)
  "Return AUTH PLAIN's one string for USER and PASSWORD (RFC 4616).
Called as a command, ask for both and insert the string at point."
  (interactive
   (progn
     (barf-if-buffer-read-only)
     (list (read-string "User: ")
           (prog1 (read-passwd "Password: ")
             (clear-this-command-keys)))))
  (let ((string (smtps-base64-encode-string (concat "\0" user "\0" password))))
    (when (called-interactively-p 'any)
      (clear-string password)
      (insert string))
    string))

(provide 'smtps-base64)
;;; smtps-base64.el ends here
