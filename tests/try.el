;;; try.el --- What elisp/try does in Emacs  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The sandbox has said in the file SMTPS_TRY where it listens.  `smtps-try'
;; opens a session with it; `smtps-try-batch' plays the documented dialogue in
;; one, as a person would, and looks whether the mail has come.

;;; Code:

(require 'smtps-session)

(defconst smtps-try-seconds 20
  "Seconds that an answer may take.")

(defun smtps-try--sandbox ()
  "Return where the sandbox listens, a plist."
  (with-temp-buffer
    (insert-file-contents (getenv "SMTPS_TRY"))
    (cdr (smtps-wire-read (string-trim (buffer-string))))))

(defun smtps-try--open (sandbox)
  "Open a session with SANDBOX and return its buffer."
  (smtps-session (plist-get sandbox :host) (plist-get sandbox :port)
                 :tls 'implicit :ca-file (plist-get sandbox :ca-file)))

(defun smtps-try ()
  "Open a session with the sandbox, its login at hand."
  (let* ((sandbox (smtps-try--sandbox))
         (user (plist-get sandbox :user))
         (password (plist-get sandbox :password))
         (buffer (smtps-try--open sandbox)))
    (with-current-buffer (get-buffer-create "*smtps try*")
      (insert "A session with the sandbox is open below. Type, for example:\n\n"
              "  ehlo localhost.localdomain\n  auth login\n"
              (format "  %s   (the user %s)\n" (smtps-base64-encode-string user) user)
              (format "  %s   (the password %s)\n"
                      (smtps-base64-encode-string password) password)
              (format "  mail from:<%s>\n" user)
              "  rcpt to:<to-address@other-host.it>\n  data\n  Subject: interactive attempt\n"
              "\n  Text.\n  .\n  quit\n\n"
              "C-c C-b sends a text in base64. Its mail is kept in "
              (plist-get sandbox :maildir) " until you leave Emacs.\n")
      (goto-char (point-min))
      (special-mode))
    (delete-other-windows)
    (switch-to-buffer "*smtps try*")
    (select-window (split-window-below 17))
    (switch-to-buffer buffer)
    (goto-char (point-max))))

(defun smtps-try--wait (what condition)
  "Wait until CONDITION, a function, is true; else fail with WHAT was waited for."
  (let ((end (+ (float-time) smtps-try-seconds)))
    (while (and (not (funcall condition)) (< (float-time) end))
      (accept-process-output nil 0.02))
    (unless (funcall condition)
      (error "No %s within %d seconds" what smtps-try-seconds))))

(defun smtps-try--last-line ()
  "Return the last line above the prompt."
  (save-excursion
    (goto-char smtps-session--prompt-start)
    (forward-line -1)
    (buffer-substring-no-properties (point) (line-end-position))))

(defun smtps-try--play (line reply)
  "Type LINE, and wait for a last line that matches REPLY, if that is non-nil."
  (let ((before (buffer-modified-tick)))
    (goto-char (point-max))
    (insert line)
    (call-interactively (key-binding (kbd "RET")))
    (smtps-try--wait
     (format "answer to “%s”" line)
     (lambda ()
       (and (> (buffer-modified-tick) before)
            (string-match-p (or reply "\\`send>") (smtps-try--last-line)))))))

(defun smtps-try--dialogue (sandbox)
  "Play the documented dialogue with SANDBOX; return the transcript."
  (let* ((buffer (smtps-try--open sandbox))
         (user (plist-get sandbox :user)))
    (with-current-buffer buffer
      (smtps-try--wait "greeting" (lambda () (string-match-p "\\`recv> 220" (smtps-try--last-line))))
      (dolist (step `(("ehlo localhost.localdomain" "\\`recv> 250 SIZE")
                      ("auth login" "\\`recv> 334 VXNlcm5hbWU6")
                      (,(smtps-base64-encode-string user) "\\`recv> 334 UGFzc3dvcmQ6")
                      (,(smtps-base64-encode-string (plist-get sandbox :password)) "\\`recv> 235")
                      (,(format "mail from:<%s>" user) "\\`recv> 250 ")
                      ("rcpt to:<to-address@other-host.it>" "\\`recv> 250 ")
                      ("data" "\\`recv> 354 ")
                      (,(format "From: <%s>" user)) ("To: <to-address@other-host.it>")
                      ("Subject: interactive attempt") ("")
                      ("Text for interactive attempt.") ("--") ("Marco")
                      ("." "\\`recv> 250 ")
                      ("quit" "closed")))
        (smtps-try--play (car step) (cadr step)))
      (buffer-substring-no-properties (point-min) (point-max)))))

(defun smtps-try-batch ()
  "Play the documented dialogue, print it, and exit with 0 if the mail has come."
  (let ((status 1))
    (condition-case err
        (let* ((sandbox (smtps-try--sandbox))
               (transcript (smtps-try--dialogue sandbox))
               (mails (directory-files (expand-file-name "new" (plist-get sandbox :maildir))
                                       t "\\`[^.]")))
          (princ transcript)
          (if (and (= (length mails) 1)
                   (with-temp-buffer
                     (insert-file-contents (car mails))
                     (search-forward "\n\nText for interactive attempt.\n--\nMarco\n" nil t)))
              (progn (princ "- The mail lies in the sandbox's Maildir.\n")
                     (setq status 0))
            (princ "! The mail does not lie in the sandbox's Maildir.\n")))
      (error
       (dolist (buffer (buffer-list))
         (when (string-prefix-p "*smtps " (buffer-name buffer))
           (princ (with-current-buffer buffer (buffer-substring-no-properties 1 (point-max))))))
       (princ (format "! %s\n" (error-message-string err)))))
    (kill-emacs status)))

(provide 'try)
;;; try.el ends here
