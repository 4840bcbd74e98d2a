;;; smtps-session-input.el --- What is typed in a session, and sent  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A typed line appears above the prompt when the helper says that it has left,
;; masked where it held a secret: so order and masks have one author.

;;; Code:

(require 'comint)
(require 'seq)
(require 'subr-x)
(require 'smtps-base64)
(require 'smtps-credentials)
(require 'smtps-helper)
(require 'smtps-session-end)
(require 'smtps-wire)

(defconst smtps-session--given-at-once 64
  "Lines that the helper is given before it has said that one has left.
What is pasted may be long, and what the helper has can't be taken back.")

(defun smtps-session--lines (input)
  "Return the lines of INPUT; the line break at its end is RET's."
  (mapcar (lambda (line) (string-remove-suffix "\r" line))
          (split-string (string-remove-suffix "\n" input) "\n")))

(defun smtps-session-send-input ()
  "Send what stands behind the prompt, each line by itself."
  (interactive)
  (smtps-session--assert-open)
  (when (< (point-max) (smtps-session--mark))
    (user-error "What is typed is out of sight: %s shows all of the buffer"
                (substitute-command-keys "\\[widen]")))
  (let ((lines (smtps-session--lines
                (buffer-substring-no-properties (smtps-session--mark) (point-max)))))
    (mapc #'smtps-session--assert-sendable lines)
    (smtps-session--erase-input)
    (goto-char (point-max))
    (set-marker comint-last-input-start smtps-session--prompt-start)
    (set-marker comint-last-input-end smtps-session--prompt-start)
    (smtps-session--type lines)))

(defun smtps-session--assert-sendable (line)
  "Signal an error if LINE can't be given to the helper."
  (condition-case err
      (smtps-wire-print (list 'call most-positive-fixnum 'session-send
                              (list :session most-positive-fixnum :line line)))
    (smtps-wire-error
     (user-error "%s; nothing was sent" (smtps-session--sentence err)))))

(defun smtps-session--type (lines)
  "Have LINES sent, in their order and behind those that are pending."
  (let (entries)
    (dolist (line lines)
      ;; Nothing, or a * that cancels, is no secret.
      (push (list line (and (not (member line '("" "*"))) (smtps-session--due)) nil)
            entries)
      (setq smtps-session--answered (1+ smtps-session--answered)))
    (setq smtps-session--pending (nconc smtps-session--pending (nreverse entries))))
  (smtps-session--give-next)
  (force-mode-line-update))

(defun smtps-session--give-next ()
  "Give the helper what is pending, as much as it is to hold at once."
  (when smtps-session--number
    (dolist (entry (seq-take smtps-session--pending smtps-session--given-at-once))
      (unless (nth 2 entry)
        (smtps-session--give entry)))))

(defun smtps-session--give (entry)
  "Give the helper the line of ENTRY, which is pending."
  (let ((buffer (current-buffer))
        (line (car entry)))
    (setf (nth 2 entry) t)
    (smtps-session--note-typed line (cadr entry))
    (when (cadr entry)
      (setf (car entry) nil))
    (smtps-helper-call
     'session-send (list :session smtps-session--number :line line)
     ;; Its reply may be hours away, behind those typed before it.
     :timeout 'none
     :else (lambda (err)
             (when (buffer-live-p buffer)
               (with-current-buffer buffer
                 (smtps-session--not-taken entry err)))))))

(defun smtps-session--note-typed (line due)
  "Note who logs in by LINE, which was typed as DUE, to propose it the next time."
  (let ((plain (and (null due) (not smtps-session--data)
                    (let ((case-fold-search t))
                      (string-match "\\`[ \t]*auth[ \t]+plain[ \t]+\\([^ \t]+\\)" line))
                    (match-string 1 line))))
    (when (or plain (memq due '(username credentials)))
      (let* ((octets (ignore-errors (base64-decode-string (or plain line))))
             (name (cond ((eq due 'username) octets)
                         ((and octets (string-match "\0\\([^\0]*\\)\0" octets))
                          (match-string 1 octets)))))
        (when (and name (not (string= name "")))
          (smtps-session-note-name (plist-get smtps-session--arguments :host)
                                   (plist-get smtps-session--arguments :port)
                                   (decode-coding-string name 'utf-8)))
        ;; A password may be behind the name.
        (when (and octets (not (eq octets name)))
          (clear-string octets))))))

(defun smtps-session--not-taken (entry err)
  "The helper did not take ENTRY: ERR.  Give it and all behind it back.
A helper that died may have taken it."
  (let ((refused (memq entry smtps-session--pending)))
    (cond
     ((eq (car err) 'smtps-helper-dead)
      (smtps-session--closed (smtps-session--sentence err) t))
     (refused
      (setq smtps-session--pending
            (butlast smtps-session--pending (length refused)))
      (smtps-session--insert (concat "! " (smtps-session--sentence err))
                             'smtps-session-refusal)
      (smtps-session--give-back refused)))))

(defun smtps-session--left (text secret)
  "A line has left, shown as TEXT; return what to show for it.
SECRET is non-nil if TEXT is masked.  Any other line goes to the history."
  (let ((entry (or (seq-find (lambda (entry) (equal (car entry) text))
                             smtps-session--pending)
                   (car smtps-session--pending))))
    (setq smtps-session--pending (cdr (memq entry smtps-session--pending)))
    (smtps-session--give-next)
    (cond
     (secret text)
     ((null entry) text)
     ;; The server gave up waiting just when the secret was on its way.
     ((cadr entry)
      (format "<typed as the %s, which was no longer asked for>" (cadr entry)))
     (t (comint-add-to-input-history (car entry))
        text))))

(defun smtps-session-send-base64 ()
  "Read a text in the minibuffer and send it in base64.
Where the server waits for a password it is read without being shown; where
it waits for AUTH PLAIN's string, user and password are read.  If meanwhile
the server has given up waiting for them, nothing is sent."
  (interactive)
  (smtps-session--assert-open)
  (let* ((buffer (current-buffer))
         (due (smtps-session--due))
         (line (smtps-base64-door t (smtps-session--read-base64 due))))
    (unless (buffer-live-p buffer)
      (user-error "The session's buffer is gone; nothing was sent"))
    (with-current-buffer buffer
      (smtps-session--assert-open)
      (unless (eq due (smtps-session--due))
        (user-error "The server no longer waits for the %s; nothing was sent"
                    (or due "text")))
      (smtps-session--type (list line)))))

(defun smtps-session--read-base64 (due)
  "Read in the minibuffer what DUE asks for, and return its base64."
  (let ((secret (lambda (prompt encode)
                  (let ((password (smtps-credentials-read prompt)))
                    (unwind-protect (funcall encode password)
                      (clear-string password)))))
        (name (lambda ()
                (let* ((host (plist-get smtps-session--arguments :host))
                       (port (plist-get smtps-session--arguments :port))
                       (name (smtps-session-read-name host port)))
                  (smtps-session-note-name host port name)
                  name))))
    (pcase due
      ('credentials
       (let ((user (funcall name)))
         (funcall secret "Password: "
                  (lambda (password) (smtps-base64-auth-plain user password)))))
      ('password (funcall secret "Password: " #'smtps-base64-encode-string))
      ('response (funcall secret "Response: " #'smtps-base64-encode-string))
      ('username (smtps-base64-encode-string (funcall name)))
      ;; No history: it may be a secret all the same.
      (_ (smtps-base64-encode-string (read-string "Text to send in base64: " nil t))))))

(defun smtps-session-kill-input ()
  "Kill what stands behind the prompt; if it is hidden, without a copy."
  (interactive)
  (if (smtps-session--secret-typed-p)
      (smtps-session--erase-input)
    (comint-kill-input)))

(defun smtps-session--old-input ()
  "Return the line that was sent and stands at point, for sending it again.
Behind the prompt return what is typed, which comint keeps while it shows
others of the history; nothing if it is hidden."
  (let ((line (get-text-property (line-beginning-position) 'smtps-session-line)))
    (cond ((comint-after-pmark-p)
           (if (smtps-session--secret-typed-p) ""
             (buffer-substring-no-properties (smtps-session--mark) (point-max))))
          ((stringp line) line)
          (line (user-error "This line held a secret, which was not kept"))
          (t (user-error "There is no line here that was sent")))))

(provide 'smtps-session-input)
;;; smtps-session-input.el ends here
