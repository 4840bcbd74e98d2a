;;; smtps-doctor.el --- Look over the set-up, and tell what to do  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A report that can be pasted: no secret is in it, and none is looked up.
;; Each finding is a line, and what is wrong has a line below it that tells
;; what to do.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps)
(require 'smtps-accounts-file)
(require 'smtps-helper)
(require 'smtps-outbox)
(require 'smtps-afterwork)
(require 'smtps-credentials)
(require 'smtps-trust)

(declare-function smtps-send-waiting "smtps-send" ())
(declare-function smtps-send-it "smtps-send" ())
(defvar message-send-mail-function)
(defvar message-server-alist)
(defvar send-mail-function)

(define-derived-mode smtps-doctor-mode special-mode "SMTP doctor"
  "The state of smtps, to be read and pasted."
  :interactive nil
  (setq-local revert-buffer-function (lambda (&rest _) (smtps-doctor))))

(defun smtps-doctor--fault (text advice)
  "Return the finding TEXT, which is a fault, with ADVICE what to do."
  (list text advice))

;;; Findings: strings, or lists (TEXT ADVICE) where something is wrong

(defconst smtps-doctor--python-needed "3.11"
  "The oldest Python that the helper runs with.")

(defun smtps-doctor--output (&rest command)
  "Return the first line that COMMAND prints, or nil if it fails."
  (with-temp-buffer
    (let ((default-directory (expand-file-name "~/")))
      (and (eql 0 (ignore-errors
                    (apply #'call-process (car command) nil t nil (cdr command))))
           (progn (goto-char (point-min))
                  (buffer-substring (point) (line-end-position)))))))

(defun smtps-doctor--python ()
  "Return findings about the helper's Python."
  (condition-case problem
      (let* ((program (car (smtps-helper-program)))
             (version (smtps-doctor--output
                       program "-I" "-c"
                       "import platform; print(platform.python_version())")))
        (list
         (cond
          (smtps-helper-command
           (format "Helper: by smtps-helper-command, %s"
                   (abbreviate-file-name program)))
          ((not (and version (ignore-errors (version-to-list version))))
           (smtps-doctor--fault
            (format "Python: %s does not run" (abbreviate-file-name program))
            "M-x smtps-install-helper sets up another"))
          ((version< version smtps-doctor--python-needed)
           (smtps-doctor--fault
            (format "Python: %s is of version %s" (abbreviate-file-name program)
                    version)
            (format "Install Python %s or newer, then M-x smtps-install-helper"
                    smtps-doctor--python-needed)))
          (t (format "Python: %s (%s)" version
                     (abbreviate-file-name program))))))
    (smtps-error
     (list (smtps-doctor--fault (concat "Python: " (cadr problem))
                                "M-x smtps-install-helper sets it up")))))

(defun smtps-doctor--hello (hello)
  "Return findings about HELLO, what the helper has said of itself."
  (list (format "Helper: %s, wire %s, Python %s" (plist-get hello :version)
                (plist-get hello :wire) (plist-get hello :python))
        (format "TLS: %s" (plist-get hello :openssl))))

(defun smtps-doctor--no-hello (problem)
  "Return findings about PROBLEM, an error: the helper did not answer."
  (list (smtps-doctor--fault
         (format "Helper: it does not run: %s" (cadr problem))
         "M-x smtps-install-helper sets it up")))

(defun smtps-doctor--quoted (file)
  "Return the name of FILE as it is typed in a shell."
  (replace-regexp-in-string "\\`\\\\~/" "~/"
                            (shell-quote-argument (abbreviate-file-name file))
                            t t))

(defun smtps-doctor--mode (file what mode)
  "Return findings if FILE, which is WHAT, has other permissions than MODE."
  (let ((modes (file-modes file)))
    (when (and modes (/= 0 (logand modes (lognot mode) #o777)))
      (list (smtps-doctor--fault
             (format "%s: others may have a look at it (%o)" what modes)
             (format "chmod %o %s" mode (smtps-doctor--quoted file)))))))

(defun smtps-doctor--outbox ()
  "Return findings about the outbox."
  (let* ((root (smtps-outbox--directory))
         (entries (and (file-directory-p root) (smtps-outbox-entries)))
         (count (lambda (state)
                  (cl-count state entries
                            :key (lambda (entry) (plist-get entry :state)))))
         (damaged (cl-count-if (lambda (entry) (plist-get entry :damaged)) entries)))
    (append
     (list (format "Outbox: %s: %s" (abbreviate-file-name root)
                   (if (file-directory-p root)
                       (mapconcat (lambda (state)
                                    (format "%d %s" (funcall count state) state))
                                  smtps-outbox-states ", ")
                     "there is none yet")))
     (smtps-doctor--mode root "Outbox" #o700)
     (cl-mapcan (lambda (state)
                  (smtps-doctor--mode (smtps-outbox--directory (symbol-name state))
                                      (format "Outbox, %s" state) #o700))
                smtps-outbox-states)
     (when (and (file-directory-p root) (not (file-writable-p root)))
       (list (smtps-doctor--fault
              "Outbox: it can't be written"
              (format "Make it yours: chown -R \"$USER\" %s"
                      (smtps-doctor--quoted root)))))
     (when (> damaged 0)
       (list (smtps-doctor--fault
              (format "Outbox: %d damaged" damaged)
              "Look into its directory: message.eml is the mail")))
     (when (> (funcall count 'failed) 0)
       (list (smtps-doctor--fault
              (format "Outbox: %d failed" (funcall count 'failed))
              "The last line of its journal.sexp tells why")))
     (when (> (funcall count 'tmp) 0)
       (list (smtps-doctor--fault
              (format "Outbox: %d left behind in tmp/ by an Emacs that was killed"
                      (funcall count 'tmp))
              "It was not sent: look into it, and send it anew")))
     (when (and (file-directory-p root) (smtps-afterwork-waiting))
       (list (smtps-doctor--fault
              (format "Outbox: of %d that were accepted, a copy or a mark is missing"
                      (length (smtps-afterwork-waiting)))
              "M-x smtps-outbox tells why, and F there tries again")))
     (when (and (featurep 'smtps-send) (smtps-send-waiting))
       (list (smtps-doctor--fault
              (format "Outbox: %d wait for you" (length (smtps-send-waiting)))
              "M-x smtps-answer"))))))

(defconst smtps-doctor--pin-regexp
  "\\`[^ \t]+[ \t]+[0-9]+[ \t]+sha256//[A-Za-z0-9+/]\\{43\\}=[ \t]*\\'"
  "A line of the file of pins.")

(defun smtps-doctor--pins ()
  "Return findings about the file of pins."
  (let ((file (smtps-trust-pins-file))
        (number 0) (pins 0) (faults nil))
    (if (not (file-readable-p file))
        (if (file-exists-p file)
            (list (smtps-doctor--fault
                   (format "Pins: %s can't be read" (abbreviate-file-name file))
                   (format "chmod u+r %s" (smtps-doctor--quoted file))))
          (list (format "Pins: none (%s)" (abbreviate-file-name file))))
      (with-temp-buffer
        (insert-file-contents file)
        (dolist (line (split-string (buffer-string) "\n"))
          (cl-incf number)
          (let ((text (string-trim (car (split-string line "#")))))
            (cond ((string-empty-p text))
                  ((string-match-p smtps-doctor--pin-regexp text)
                   (cl-incf pins))
                  (t (push (smtps-doctor--fault
                            (format "Pins: line %d is none" number)
                            "A pin is: HOST PORT sha256//KEY; till then nothing is sent")
                           faults))))))
      (cons (format "Pins: %d (%s)" pins (abbreviate-file-name file))
            (nreverse faults)))))

(defun smtps-doctor--account (account)
  "Return a finding that describes ACCOUNT, without secrets."
  (format "Account %s: %s:%d, %s, %s%s%s%s"
          (or (plist-get account :name) "of the smtpmail variables")
          (plist-get account :host) (plist-get account :port)
          (pcase (plist-get account :tls)
            ('implicit "TLS from the first byte")
            ('starttls "STARTTLS")
            (_ (if (plist-get account :send-in-clear) "IN CLEAR" "no TLS")))
          (if (plist-get account :user)
              (format "user %s" (plist-get account :user))
            "user as auth-source has it")
          (if (plist-get account :from)
              (format ", from %s" (string-join (plist-get account :from) " "))
            "")
          (if (plist-get account :client-certificate)
              ", with a client certificate" "")
          (if (plist-get account :password-command)
              ", with a password command" "")))

(defun smtps-doctor--files (account)
  "Return findings about the files that ACCOUNT names."
  (cl-loop for (key option) in '((:ca-file ":ca-file")
                                 (:client-certificate ":client-certificate")
                                 (:client-key ":client-certificate"))
           for file = (plist-get account key)
           when (and file (not (file-readable-p file)))
           collect (smtps-doctor--fault
                    (format "  %s: %s can't be read" option
                            (abbreviate-file-name file))
                    (format "Correct the %s of the account" option))))

(defun smtps-doctor--account-findings (make)
  "Return findings about the account that MAKE, a function, gives."
  (condition-case problem
      (let ((account (funcall make)))
        (cons (smtps-doctor--account account)
              (smtps-doctor--files account)))
    (smtps-account-error (list (smtps-doctor--account-fault problem)))))

(defun smtps-doctor--account-fault (problem)
  "Return the finding that an account, or the file of accounts, has PROBLEM."
  (let ((file (smtps-accounts-file)))
    (smtps-doctor--fault
     (string-remove-suffix "  Nothing was sent." (cadr problem))
     (if (or smtps-accounts (not (file-exists-p file)))
         "Correct smtps-accounts: M-x customize-option"
       (format "Correct it: C-x C-f %s" (abbreviate-file-name file))))))

(defun smtps-doctor--accounts ()
  "Return findings about the accounts."
  (condition-case problem
      (let ((known (smtps-known-accounts)))
        (if known
            (cl-mapcan (lambda (entry)
                         (smtps-doctor--account-findings
                          (lambda () (smtps-account (car entry)))))
                       known)
          (smtps-doctor--account-findings #'smtps--smtpmail-account)))
    (smtps-account-error (list (smtps-doctor--account-fault problem)))))

(defun smtps-doctor--sources ()
  "Return findings about where passwords come from."
  (require 'auth-source)
  (list (if (bound-and-true-p auth-sources)
            (format "Passwords: auth-sources is %S" auth-sources)
          (smtps-doctor--fault "Passwords: auth-sources is empty"
                               "Each is asked for, unless an account has a command"))))

(defun smtps-doctor--way ()
  "Return findings about the way that mail takes."
  (let ((ours (cl-remove-if-not
               (lambda (variable)
                 (and (default-boundp variable)
                      (eq (default-value variable) #'smtps-send-it)))
               '(send-mail-function message-send-mail-function))))
    (cond
     (smtps-mode
      (if (cdr ours)
          (list "Mail goes by smtps: smtps-mode is on")
        (list (smtps-doctor--fault
               "smtps-mode is on, but something else has set a send function since"
               "Turn the mode on later in the init file: (smtps-mode 1)"))))
     ((null ours)
      (list (smtps-doctor--fault "Mail does not go by smtps: smtps-mode is off"
                                 "(smtps-mode 1) in the init file turns it on")))
     (t
      (list (smtps-doctor--fault
             (format "Mail goes by smtps where %s says so, but smtps-mode is off: \
mail with X-Message-SMTP-Method%s goes by smtpmail"
                     (mapconcat #'symbol-name ours " and ")
                     (if (bound-and-true-p message-server-alist)
                         ", which message-server-alist adds," ""))
             "(smtps-mode 1) instead of setting these variables"))))))

;;; The report

(defun smtps-doctor--insert (findings)
  "Insert FINDINGS; they may be of any of the functions above."
  (dolist (finding findings)
    (if (stringp finding)
        (insert "  " finding "\n")
      (insert (propertize "! " 'face 'error) (car finding) "\n    -> "
              (cadr finding) "\n"))))

(defun smtps-doctor--report (helper)
  "Insert the report; HELPER are the findings about the helper itself."
  (insert (format "smtps %s, Emacs %s, %s\n\n" smtps-helper-version
                  emacs-version system-type))
  (mapc #'smtps-doctor--insert
        (list (smtps-doctor--python) helper (smtps-doctor--way)
              (smtps-doctor--accounts) (smtps-doctor--sources)
              (smtps-doctor--outbox) (smtps-doctor--pins))))

;;;###autoload
(defun smtps-doctor ()
  "Look over the set-up of smtps; show what there is and what is wrong.
The report has no secrets in it and can be pasted.  The buffer is returned;
the helper's part comes when the helper has answered."
  (interactive)
  (let ((buffer (get-buffer-create "*smtps doctor*")))
    (cl-flet ((show (helper)
                (when (buffer-live-p buffer)
                  (with-current-buffer buffer
                    (smtps-doctor-mode)
                    (let ((inhibit-read-only t))
                      (erase-buffer)
                      (smtps-doctor--report helper))
                    (goto-char (point-min))))))
      (show (list "Helper: starting..."))
      (display-buffer buffer)
      (smtps-helper-call
       'hello (list :version smtps-helper-version :wire smtps-helper-wire)
       :then (lambda (hello) (show (smtps-doctor--hello hello)))
       :else (lambda (problem) (show (smtps-doctor--no-hello problem)))))
    buffer))

(provide 'smtps-doctor)
;;; smtps-doctor.el ends here
