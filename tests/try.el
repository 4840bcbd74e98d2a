;;; try.el --- What elisp/try does in Emacs  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; `smtps-try' opens a session with the sandbox, its login at hand;
;; `smtps-try-batch' plays the documented dialogue in one, as a person
;; would, and looks whether the mail has come.  The sandbox is this
;; Emacs's, and ends with it.

;;; Code:

(require 'smtps)
(require 'smtps-base64)
(require 'smtps-session)

(defconst smtps-try-seconds 20
  "Seconds that an answer may take; all of them together take less than one.")

(defconst smtps-try-recipient "to-address@other-host.it"
  "The recipient of the documented dialogue.")

(defun smtps-try--open (sandbox)
  "Open a session with SANDBOX and return its buffer."
  (smtps-session (plist-get sandbox :host) (plist-get sandbox :port)
                 :ca-file (plist-get sandbox :ca-file)))

;;; By a person

(defun smtps-try--account (sandbox)
  "Have mail composed in this Emacs go to SANDBOX.
Its password is put where auth-source looks by itself."
  (let ((user (plist-get sandbox :user)))
    (with-file-modes #o600
      (with-temp-file "~/.authinfo"
        (insert (format "machine %s port %d login %s password %s\n"
                        (plist-get sandbox :host) (plist-get sandbox :port)
                        user (plist-get sandbox :password)))))
    (setq user-mail-address user
          smtps-accounts
          `(("sandbox" ,@(mapcan (lambda (key) (list key (plist-get sandbox key)))
                                 '(:host :port :ca-file :user)))))
    (smtps-mode 1)))

(defun smtps-try--words (sandbox)
  "Return what a person needs who types to SANDBOX."
  (let ((user (plist-get sandbox :user))
        (password (plist-get sandbox :password)))
    (format "Below is a session with a mail server on this machine, the sandbox.  Type:
  ehlo localhost.localdomain
  auth login
  %-33s is the user %s
  %-33s is the password %s
  mail from:<%s>
  rcpt to:<%s>
  data                              and the mail, and a line with only a dot
  quit
C-c C-b reads a text, or a password unseen, and sends it in base64.
C-x m composes a mail and C-c C-c sends it, to the sandbox, too.  Mails are in
  %s
"
            (smtps-base64-encode-string user) user
            (smtps-base64-encode-string password) password
            user smtps-try-recipient
            (abbreviate-file-name (expand-file-name "new" (plist-get sandbox :maildir))))))

(defun smtps-try ()
  "Open a session with the sandbox, its login at hand."
  (let ((session (smtps-sandbox))
        (sandbox (smtps-sandbox-start)))
    (smtps-try--account sandbox)
    (with-current-buffer session
      ;; What it tells stands in the window above.
      (setq header-line-format nil))
    (delete-other-windows)
    (switch-to-buffer session)
    (with-current-buffer (get-buffer-create "*smtps try*")
      (insert (smtps-try--words sandbox))
      (goto-char (point-min))
      (special-mode)
      (setq truncate-lines t))
    (fit-window-to-buffer
     (display-buffer "*smtps try*"
                     '(display-buffer-in-direction (direction . above))))))

;;; By itself

(defun smtps-try--wait (condition)
  "Wait until CONDITION, a function, returns non-nil."
  (let ((deadline (time-add nil smtps-try-seconds)))
    (while (not (funcall condition))
      (unless (time-less-p nil deadline)
        (error "For %d seconds the server said nothing that was awaited"
               smtps-try-seconds))
      (when (eq smtps-session-state 'closed)
        (error "The session was closed before the dialogue was through"))
      (accept-process-output nil 0.05))))

(defun smtps-try--last-line ()
  "Return the last line above the prompt."
  (save-excursion
    (goto-char smtps-session--prompt-start)
    (forward-line -1)
    (buffer-substring-no-properties (point) (line-end-position))))

(defun smtps-try--play (line answer)
  "Type LINE and RET, and wait until the last line shown matches ANSWER."
  (let ((before (buffer-modified-tick)))
    (goto-char (point-max))
    (insert line)
    (call-interactively (key-binding (kbd "RET")))
    (smtps-try--wait
     (lambda ()
       (and (> (buffer-modified-tick) before)
            (string-match-p answer (smtps-try--last-line)))))))

(defun smtps-try--steps (user password)
  "Return the documented dialogue with the login USER and PASSWORD.
It is an alist of lines to type and regexps of what is shown then."
  `(("ehlo localhost.localdomain" . "\\`recv> 250 SIZE\\'")
    ("auth login" . "\\`recv> 334 VXNlcm5hbWU6\\'")
    (,(smtps-base64-encode-string user) . "\\`recv> 334 UGFzc3dvcmQ6\\'")
    (,(smtps-base64-encode-string password) . "\\`recv> 235 ")
    (,(format "mail from:<%s>" user) . "\\`recv> 250 ")
    (,(format "rcpt to:<%s>" smtps-try-recipient) . "\\`recv> 250 ")
    ("data" . "\\`recv> 354 ")
    ,@(mapcar (lambda (line)
                (cons line (concat "\\`" (regexp-quote (string-trim (concat "send> " line)))
                                   "\\'")))
              (smtps-try--mail user))
    ("." . "\\`recv> 250 ")
    ("quit" . "\\`- The session is closed")))

(defun smtps-try--mail (user)
  "Return the lines of the documented mail of USER."
  (list (format "From: <%s>" user)
        (format "To: <%s>" smtps-try-recipient)
        "Subject: interactive attempt"
        ""
        "Text for interactive attempt."
        "--"
        "Marco"))

(defun smtps-try--delivered-p (sandbox)
  "Return non-nil if the documented mail, and no other, lies in SANDBOX's Maildir."
  (let ((mails (directory-files (expand-file-name "new" (plist-get sandbox :maildir))
                                t "\\`[^.]"))
        (lines (smtps-try--mail (plist-get sandbox :user))))
    (and (= (length mails) 1)
         (with-temp-buffer
           (insert-file-contents (car mails))
           (search-forward (concat (string-join lines "\n") "\n") nil t)))))

(defun smtps-try-batch ()
  "Play the documented dialogue and print it.
Exit with 0 only if the mail lies in the sandbox's Maildir."
  (let (sandbox session failed)
    (condition-case err
        (progn
          (setq sandbox (smtps-sandbox-start)
                session (smtps-try--open sandbox))
          (with-current-buffer session
            (smtps-try--wait
             (lambda () (string-match-p "\\`recv> 220 " (smtps-try--last-line))))
            (pcase-dolist (`(,line . ,answer)
                           (smtps-try--steps (plist-get sandbox :user)
                                             (plist-get sandbox :password)))
              (smtps-try--play line answer)))
          (unless (smtps-try--delivered-p sandbox)
            (error "The mail does not lie in the sandbox's Maildir")))
      (error (setq failed (error-message-string err))))
    (when session
      (princ (with-current-buffer session
               (buffer-substring-no-properties (point-min) (point-max)))))
    (if failed
        (message "try: %s." (string-remove-suffix "." failed))
      (princ "\nThe mail lies in the sandbox's Maildir.\n"))
    (kill-emacs (if failed 1 0))))

(provide 'try)
;;; try.el ends here
