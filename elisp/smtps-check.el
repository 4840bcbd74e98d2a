;;; smtps-check.el --- Say what works with a server, and send nothing  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The command line's `smtps check', run in a buffer.  It asks for secrets
;; on its terminal, which is ours: the answer is fetched before it starts,
;; and given to its own question only, a whole line that no server can have
;; written, since what servers say ends with a line break.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'smtps)
(require 'smtps-helper)
(require 'smtps-host)
(require 'smtps-credentials)

(defvar-local smtps-check--account nil
  "The account that is checked in this buffer.")

(defvar-local smtps-check--login nil
  "Who logs in, or nil.")

(defvar-local smtps-check--tail nil
  "Marker where the line begins that the process has not ended yet.")

(defvar smtps-check-history nil
  "Accounts and hosts that were checked.")

(defvar smtps-check-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "C-c C-c") #'smtps-check-stop)
    map)
  "Keys of buffers that tell what works with a server.")

(define-derived-mode smtps-check-mode special-mode "SMTP check"
  "What works with a server.
\\<smtps-check-mode-map>\\[revert-buffer] checks again, \\[smtps-check-stop] stops it."
  :interactive nil
  (setq-local revert-buffer-function
              (lambda (&rest _) (smtps-check--run smtps-check--account)))
  (setq buffer-undo-list t))

;;; The command line

(defun smtps-check--words (account login)
  "Return the words of the command line to check ACCOUNT, with LOGIN or nil.
No secret is among them."
  (let ((option (lambda (name value) (and value (list name value)))))
    (append
     (smtps-helper-program)
     (list "check" "--host" (plist-get account :host)
           "--port" (number-to-string (plist-get account :port))
           "--tls" (symbol-name (plist-get account :tls)))
     (funcall option "--ca-file" (plist-get account :ca-file))
     (funcall option "--client-certificate"
              (plist-get account :client-certificate))
     (funcall option "--client-key" (plist-get account :client-key))
     (and (plist-get account :send-in-clear) (list "--send-in-clear"))
     (and login
          (append
           (list "--user" login)
           (funcall option "--auth"
                    (and (plist-get account :mechanisms)
                         (string-join (plist-get account :mechanisms) ",")))
           (funcall option "--password-command"
                    (plist-get account :password-command)))))))

(defun smtps-check--start (account login buffer &rest keys)
  "Start the check of ACCOUNT, with LOGIN or nil, in BUFFER; return the process.
KEYS are more of the arguments of `make-process'."
  (let ((default-directory (expand-file-name "~/"))
        (process-environment (append '("TERM=dumb" "PYTHONIOENCODING=utf-8"
                                       "PYTHONUTF8=1")
                                     process-environment)))
    (apply #'make-process
           :name "smtps-check" :buffer buffer :noquery t
           :command (smtps-check--words account login)
           :coding 'utf-8-unix keys)))

;;; In a buffer

(defun smtps-check--answer (process line)
  "Answer LINE of PROCESS, not ended yet, if it is a question for a secret."
  (let* ((account smtps-check--account)
         (key (or (plist-get account :client-key)
                  (plist-get account :client-certificate)))
         (give (lambda (secret)
                 (let ((answer (concat secret "\n")))
                   (process-send-string process answer)
                   (clear-string answer)
                   t))))
    (cond
     ((equal line (format "Password for %s at %s: " smtps-check--login
                          (plist-get account :host)))
      (or (smtps-credentials-tell-password account give)
          (process-send-eof process)))
     ((equal line (format "Passphrase for %s: " key))
      (or (smtps-credentials-tell-passphrase account give)
          (process-send-eof process))))))

(defun smtps-check--shown (text)
  "Return TEXT of the program as it is shown, its ✓ and ✗ in faces or ASCII."
  (replace-regexp-in-string
   "^[✓✗]"
   (lambda (mark)
     (let ((works (equal mark "✓")))
       (propertize (cond ((char-displayable-p (aref mark 0)) mark)
                         (works "ok")
                         (t "NO"))
                   'face (if works 'success 'error))))
   (string-replace "\r" "" text) t t))

(defmacro smtps-check--following (&rest body)
  "Evaluate BODY, which writes at the buffer's end; windows there stay there."
  (declare (indent 0) (debug t))
  `(let ((windows (seq-filter (lambda (window)
                                (= (window-point window) (point-max)))
                              (get-buffer-window-list nil nil t))))
     (prog1 (progn ,@body)
       (dolist (window windows)
         (set-window-point window (point-max))))))

(defun smtps-check--filter (process text)
  "Show TEXT, which PROCESS has written, and answer its questions."
  (when (buffer-live-p (process-buffer process))
    (with-current-buffer (process-buffer process)
      (let ((inhibit-read-only t)
            (at-end (= (point) (point-max))))
        (save-excursion
          (goto-char (point-max))
          (smtps-check--following
            (insert (smtps-check--shown text)))
          (goto-char smtps-check--tail)
          (when (save-excursion (search-forward "\n" nil t))
            (goto-char (point-max))
            (forward-line 0)
            (set-marker smtps-check--tail (point)))
          (smtps-check--answer process
                               (buffer-substring-no-properties
                                smtps-check--tail (point-max))))
        (when at-end
          (goto-char (point-max)))))))

(defun smtps-check--sentinel (process _event)
  "Say how PROCESS has ended."
  (when (and (not (process-live-p process))
             (buffer-live-p (process-buffer process)))
    (with-current-buffer (process-buffer process)
      (let ((inhibit-read-only t)
            (host (plist-get smtps-check--account :host))
            (fine (and (eq (process-status process) 'exit)
                       (eql (process-exit-status process) 0))))
        (when (and fine smtps-check--login)
          (smtps-credentials-accepted smtps-check--account))
        (save-excursion
          (goto-char (point-max))
          (unless (bolp) (insert "\n"))
          (smtps-check--following
            (insert (cond
                     (fine (format "\nAll of this works with %s.  Nothing was sent.\n"
                                   host))
                     ((eq (process-status process) 'signal)
                      "\nStopped.  Nothing was sent.\n")
                     (t (format "\nThis does not work with %s (status %d).  \
Nothing was sent.\n" host (process-exit-status process))))
                    (if (and fine (smtps-credentials-unsaved-p))
                        (format-message "M-x smtps-answer can save the password.\n")
                      ""))))
        (setq mode-line-process (if fine ":works" ":fails"))
        (force-mode-line-update)))))

(defun smtps-check--run (account)
  "Check ACCOUNT in a buffer of its own, and return that buffer."
  (let ((buffer (get-buffer-create
                 (format "*smtps check %s:%d*" (plist-get account :host)
                         (plist-get account :port))))
        login)
    (when (get-buffer-process buffer)
      (user-error "%s is being checked already" (plist-get account :host)))
    ;; Where there is no program, nothing need be asked.
    (smtps-helper-program)
    ;; It runs a password command by itself.
    (setq login (if (plist-get account :password-command)
                    (or (plist-get account :user)
                        (car (plist-get account :from)))
                  (and (smtps-credentials-fetch
                        account :from (car (plist-get account :from)))
                       (smtps-credentials-login
                        account (car (plist-get account :from))))))
    (smtps-credentials-fetch-passphrase account t)
    (with-current-buffer buffer
      (smtps-check-mode)
      (setq smtps-check--account account
            smtps-check--login login
            mode-line-process ":runs")
      (let ((inhibit-read-only t))
        (erase-buffer)
        (when (and (plist-get account :user) (not login))
          (insert (format "No password was found (%s): the login is not tried.\n"
                          (smtps-credentials-sought account)))))
      (goto-char (point-max))
      (setq smtps-check--tail (point-marker))
      (smtps-check--start account login buffer
                          :connection-type 'pty
                          :filter #'smtps-check--filter
                          :sentinel #'smtps-check--sentinel))
    buffer))

(defun smtps-check-stop ()
  "Stop the check in this buffer."
  (interactive)
  (let ((process (get-buffer-process (current-buffer))))
    (when process
      (interrupt-process process))))

(defun smtps-check--read ()
  "Read what to check: an account's name, or a host.
Where nothing tells how TLS begins there it is asked for, as by a prefix
argument; then return the account that this makes."
  (let* ((names (mapcar #'car (ignore-error smtps-account-error
                               (smtps-known-accounts))))
         (what (completing-read "Check (account, HOST or HOST:PORT): "
                                (append names smtps-check-history)
                                nil nil nil 'smtps-check-history
                                (car names)))
         (tls (unless (member what names)
                (smtps-host-read-tls what nil current-prefix-arg))))
    (if (not tls) what
      (pcase-let ((`(,host . ,port) (smtps-host-split what)))
        (or (smtps-host-account host port tls)
            (smtps--check-account nil (list :host host :port port :tls tls)))))))

(defun smtps-check--account-of (what)
  "Return the account that WHAT is: a plist, a name, HOST or HOST:PORT."
  (cond
   ((consp what) what)
   ((assoc what (smtps-known-accounts)) (smtps-account what))
   (t (pcase-let ((`(,host . ,port) (smtps-host-split what)))
        (or (smtps-host-account host port nil)
            (smtps--check-account nil (list :host host :port port)))))))

;;;###autoload
(defun smtps-check (what)
  "Connect to WHAT, log in if a password is known, and tell what works.
WHAT is the name of an account, HOST, HOST:PORT, or an account as a plist.
Where neither an account nor the port tells how TLS begins, that is asked
for, as it is with a prefix argument.  Nothing is sent.  It goes on in a
buffer, which is shown and returned."
  (interactive (list (smtps-check--read)))
  (condition-case problem
      (let ((buffer (smtps-check--run (smtps-check--account-of what))))
        (display-buffer buffer)
        buffer)
    (smtps-error
     (user-error "%s" (or (cadr problem) (error-message-string problem))))))

;;; For a certificate

(defconst smtps-check--certificate-seconds 20
  "Seconds to wait for a server to show its certificate once more.")

(defun smtps-check-certificate (account)
  "Have ACCOUNT's server show its certificate; return (STATUS . LINES).
LINES tell of it, and STATUS is the exit status of the check, 77 where the
certificate is refused, or nil if it has not ended in time.  Nobody logs in;
\\[keyboard-quit] ends the wait.  Call this only inside a command."
  (let ((deadline (time-add nil smtps-check--certificate-seconds))
        (status nil)
        ;; Ours is not shown: its key may need a passphrase.
        (account `(:client-certificate nil :client-key nil ,@account)))
    (with-temp-buffer
      (let ((process (smtps-check--start account nil (current-buffer)
                                         :connection-type 'pipe
                                         :sentinel #'ignore)))
        (message "Asking %s for its certificate..." (plist-get account :host))
        (unwind-protect
            (condition-case nil
                (progn
                  (ignore-errors (process-send-eof process))
                  (while (and (process-live-p process)
                              (time-less-p nil deadline))
                    (accept-process-output process 0.1))
                  (unless (process-live-p process)
                    (while (accept-process-output process 0 nil t))
                    (setq status (process-exit-status process))))
              (quit nil))
          (delete-process process)))
      (cons status (split-string (buffer-string) "\n" t)))))

(provide 'smtps-check)
;;; smtps-check.el ends here
