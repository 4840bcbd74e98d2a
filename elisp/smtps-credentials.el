;;; smtps-credentials.el --- The password, and who may have it  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; Passwords are looked up, and asked for, inside commands only, and then
;; kept in memory as long as the helper lives; the helper, which asks for
;; them while Emacs is doing something else, is answered from memory, or
;; with `later'.  The passphrase of a client key is kept until the helper
;; has it.  What was typed is offered to auth-source once a server took it.
;;
;; Nothing else in smtps ever sees one.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps-wire)

(declare-function auth-source-search "auth-source" (&rest spec))
(declare-function auth-source-forget+ "auth-source" (&rest spec))
(declare-function smtps-helper-serve "smtps-helper"
                  (method function &optional secret))
(defvar auth-source-creation-defaults)
(defvar auth-source-save-behavior)
(defvar auth-sources)
(defvar smtps-helper-death-functions)

(define-error 'smtps-credentials-error "Password" 'smtps-error)

(defconst smtps-credentials--services
  '((25 "smtp") (465 "smtps" "submissions" "urd") (587 "submission" "smtp"))
  "By port, the names under which password files know it.
auth-source compares text with text: 587 is not the port `smtp' to it.")

(defvar smtps-credentials--memory nil
  "What was found: an alist of (HOST PORT USER FROM) and (LOGIN . SECRET).
LOGIN and SECRET are nil where it is known that there is none.  SECRET is
an uninterned symbol whose value is the password: whatever prints this
list prints that symbol's name only.")

(defvar smtps-credentials--refused nil
  "Passwords that auth-source or a command had, and a server refused.
An alist of keys as in `smtps-credentials--memory' and SHA-256.  Found
again, such a one is not tried before a person was asked: accounts get
locked.")

(defvar smtps-credentials--wanted nil
  "The accounts that the helper was answered `later' for, as plists.")

(defvar smtps-credentials--passphrases nil
  "Passphrases that the helper has not asked for yet: an alist of (FILE . SECRET).")

(defvar smtps-credentials--given nil
  "The files of client keys whose passphrase the helper has.
It keeps a right one; if it asks again, that one was wrong.")

(defvar smtps-credentials--keys-wanted nil
  "The files of client keys that the helper was answered `later' for.")

;;; Memory

(defun smtps-credentials--key (account from)
  "Return the key in memory for ACCOUNT; FROM counts where it has no user.
FROM is the address of who writes; nil stands for ACCOUNT's `:author'."
  (let ((user (plist-get account :user))
        (from (or from (plist-get account :author))))
    (list (downcase (plist-get account :host)) (plist-get account :port)
          user (and (not user) from (downcase from)))))

(defun smtps-credentials--recall (account from)
  "Return (LOGIN . SECRET) for ACCOUNT and FROM, or nil if nothing is known.
Where ACCOUNT has no user, and nobody is known to write, it is the newest."
  (let ((key (smtps-credentials--key account from)))
    (cdr (or (assoc key smtps-credentials--memory)
             (and (null (nth 2 key)) (null (nth 3 key))
                  (cl-find-if (lambda (known)
                                (and (equal (nth 0 (car known)) (nth 0 key))
                                     (equal (nth 1 (car known)) (nth 1 key))
                                     (null (nth 2 (car known)))))
                              smtps-credentials--memory))))))

(defun smtps-credentials--keep (account from login password)
  "Remember LOGIN and PASSWORD, or with nil their absence, for ACCOUNT and FROM.
Return non-nil if there is a password."
  (let ((secret (and password (smtps-credentials--secret password))))
    (setf (alist-get (smtps-credentials--key account from)
                     smtps-credentials--memory nil nil #'equal)
          (cons (and secret login) secret))
    (and secret t)))

(defun smtps-credentials--secret (password)
  "Return an uninterned symbol whose value is PASSWORD."
  (let ((secret (make-symbol "smtps-secret")))
    (set secret password)
    secret))

(defun smtps-credentials--erase-secret (secret)
  "Overwrite the password that is the value of SECRET, a symbol or nil."
  (when (and secret (stringp (symbol-value secret)))
    (ignore-errors (clear-string (symbol-value secret)))
    (set secret nil)))

(defun smtps-credentials--erase (known)
  "Overwrite the password that is in KNOWN, an element of the memory."
  (smtps-credentials--erase-secret (cddr known)))

(defun smtps-credentials--forget-source (host)
  "Make auth-source look afresh for HOST, a miss included."
  ;; With a port, or a list of them, it forgets nothing.
  (when (fboundp 'auth-source-forget+)
    (auth-source-forget+ :host host)))

(defun smtps-credentials--refuse (known)
  "Erase the password in KNOWN, an element of the memory, which was refused.
One that was not typed is noted, since it will be found again."
  (pcase-let ((`(,key . (,_ . ,secret)) known))
    (unless (or (null secret) (get secret 'typed))
      (setf (alist-get key smtps-credentials--refused nil nil #'equal)
            (secure-hash 'sha256 (symbol-value secret))))
    (smtps-credentials--erase known)))

(defun smtps-credentials--refused-p (account from found)
  "Return non-nil if FOUND, (LOGIN . PASSWORD), was refused for ACCOUNT and FROM."
  (equal (secure-hash 'sha256 (cdr found))
         (cdr (assoc (smtps-credentials--key account from)
                     smtps-credentials--refused))))

(defun smtps-credentials-forget (account)
  "Forget what is known of ACCOUNT's password, which was refused."
  (pcase-let ((`(,host ,port ,user ,author) (smtps-credentials--key account nil)))
    (setq smtps-credentials--memory
          (cl-delete-if
           (pcase-lambda ((and known `((,its-host ,its-port ,its-user ,its-author)
                                       . ,_)))
             (when (and (equal its-host host)
                        (equal its-port port)
                        (cond (user (member its-user (list nil user)))
                              (author (equal its-author author))
                              (t t)))
               (smtps-credentials--refuse known)
               t))
           smtps-credentials--memory)))
  (smtps-credentials--forget-source (plist-get account :host)))

(defun smtps-credentials--erase-all (&rest _)
  "Overwrite what smtps itself has in memory; the helper has ended."
  (mapc #'smtps-credentials--erase smtps-credentials--memory)
  (dolist (known smtps-credentials--passphrases)
    (smtps-credentials--erase-secret (cdr known)))
  (setq smtps-credentials--memory nil
        smtps-credentials--refused nil
        smtps-credentials--passphrases nil
        smtps-credentials--given nil))

(defun smtps-credentials-forget-all ()
  "Forget every password that smtps has in memory."
  (interactive)
  (mapc #'smtps-credentials--forget-source
        (delete-dups (mapcar #'caar smtps-credentials--memory)))
  (smtps-credentials--erase-all)
  (when (called-interactively-p 'interactive)
    (message "smtps has forgotten all passwords; they will be looked up anew")))

;;; Looking up

(defun smtps-credentials--can-ask-p ()
  "Return non-nil if a person is there and may be asked now."
  (not (or noninteractive executing-kbd-macro)))

(defun smtps-credentials--quiet-source-p (source)
  "Return non-nil if looking in SOURCE, of `auth-sources', surely asks nothing.
So it is with plain files."
  (let ((file (if (stringp source) source
                (plist-get (and (consp source) source) :source))))
    (and (stringp file)
         (not (string-match-p "\\.\\(?:gpg\\|plist\\)\\'" file))
         (or (not (stringp source))
             (not (file-remote-p file))))))

(defun smtps-credentials--quiet-p ()
  "Return non-nil if looking in `auth-sources' surely asks nothing."
  (cl-every #'smtps-credentials--quiet-source-p
            (bound-and-true-p auth-sources)))

(defun smtps-credentials--ports (account)
  "Return the names under which password files may have the port of ACCOUNT."
  ;; Without ports, the password of the mail that comes in is found.
  (let ((port (plist-get account :port)))
    (cons (number-to-string port)
          (cdr (assq port smtps-credentials--services)))))

(defun smtps-credentials-sought (account &optional from)
  "Return in words which entry of auth-source ACCOUNT's password is in.
FROM, by default its `:author', may be the login."
  (let ((ports (smtps-credentials--ports account))
        (login (or (plist-get account :user) from (plist-get account :author))))
    (format "machine %s%s port %s" (plist-get account :host)
            (if login (format " login %s" login) "")
            (mapconcat #'identity ports " or "))))

(defun smtps-credentials--search (account from)
  "Return the entry of auth-source for ACCOUNT and the address FROM, or nil.
It is looked for with the account's user; where that has none, with FROM
as the user, and then with any if there is exactly one."
  (require 'auth-source)
  (let* ((host (plist-get account :host))
         (user (plist-get account :user))
         (ports (smtps-credentials--ports account))
         (search (lambda (max user)
                   (apply #'auth-source-search :max max :host host :port ports
                          :require '(:secret)
                          (and user (list :user user))))))
    (if user
        (car (funcall search 1 user))
      (or (and from (car (funcall search 1 from)))
          (let ((found (funcall search 2 nil)))
            (and (null (cdr found)) (car found)))))))

(defun smtps-credentials--from-source (account from)
  "Return (LOGIN . PASSWORD) from auth-source for ACCOUNT and FROM, or nil."
  ;; A miss from before the file was mended would be found again.
  (smtps-credentials--forget-source (plist-get account :host))
  (let* ((entry (smtps-credentials--search account from))
         (secret (plist-get entry :secret))
         (password (if (functionp secret) (funcall secret) secret))
         (login (or (plist-get account :user) (plist-get entry :user))))
    (and (stringp password) (stringp login)
         (cons login (copy-sequence password)))))

(defconst smtps-credentials--command-seconds 60
  "Seconds that a password command may take: it may ask for a smart card.")

(defun smtps-credentials--run (command)
  "Run the shell COMMAND; return its exit status, nil if it takes too long.
Its output is put into the current buffer."
  (let* ((process-connection-type nil)
         (coding-system-for-read 'utf-8-unix)
         (default-directory (expand-file-name "~/"))
         (deadline (time-add nil smtps-credentials--command-seconds))
         (errors (generate-new-buffer " *smtps password command*" t))
         (process (make-process
                   :name "smtps-password-command" :buffer (current-buffer)
                   :command (list shell-file-name shell-command-switch command)
                   :noquery t :stderr errors :sentinel #'ignore)))
    (set-process-query-on-exit-flag (get-buffer-process errors) nil)
    (set-process-sentinel (get-buffer-process errors) #'ignore)
    (unwind-protect
        (progn
          (ignore-errors (process-send-eof process))
          (while (and (process-live-p process) (time-less-p nil deadline))
            (accept-process-output process 0.1))
          (unless (process-live-p process)
            ;; Its last words may still be on their way.
            (while (accept-process-output process 0 nil t))
            (process-exit-status process)))
      (delete-process process)
      (kill-buffer errors))))

(defun smtps-credentials--from-command (account from)
  "Return (LOGIN . PASSWORD) for ACCOUNT from its `:password-command'.
LOGIN is FROM where the account has no user.  The password is the line
that the command prints.  Signal `smtps-credentials-error' if it fails."
  (let* ((login (or (plist-get account :user) from))
         (refuse (lambda (why)
                   (signal 'smtps-credentials-error
                           (list (format "The password command of %s %s"
                                         (smtps-credentials--name account)
                                         why)))))
         password)
    (with-temp-buffer
      (let ((status (smtps-credentials--run
                     (plist-get account :password-command))))
        (cond ((null status)
               (funcall refuse (format "did not end within %d seconds"
                                       smtps-credentials--command-seconds)))
              ((not (eql status 0))
               (funcall refuse (format "failed (%s)" status)))))
      (goto-char (point-min))
      (setq password (string-remove-suffix
                      "\r" (buffer-substring-no-properties
                            (point) (line-end-position))))
      (forward-line 1)
      (unless (eobp)
        (funcall refuse "has to print one line, the password, and no more"))
      (erase-buffer))
    (when (string-empty-p password)
      (funcall refuse "printed nothing"))
    (and login (cons login password))))

(defun smtps-credentials--name (account)
  "Return the name that a person knows ACCOUNT by."
  (or (plist-get account :name) (plist-get account :host)))

(defun smtps-credentials-read (prompt)
  "Read a password in the minibuffer with PROMPT, and return it.
Of the keys that were typed, nothing is left."
  (unwind-protect
      (read-passwd prompt)
    ;; Or they can be seen with \\[view-lossage],
    (clear-this-command-keys)
    ;; and some Emacsen leave the text to the minibuffer's undo.
    (let ((buffer (get-buffer (format " *Minibuf-%d*" (1+ (minibuffer-depth))))))
      (when buffer
        (with-current-buffer buffer
          (setq buffer-undo-list nil))))))

(defun smtps-credentials--ask (account from &optional refused)
  "Ask for ACCOUNT's password; return (LOGIN . PASSWORD), or nil if empty.
LOGIN is FROM where the account has no user.  REFUSED is non-nil if the one
that is known was refused."
  (let* ((login (or (plist-get account :user) from))
         (password (and login
                        (smtps-credentials-read
                         (format "Password of %s at %s%s: " login
                                 (plist-get account :host)
                                 (if refused " (the known one was refused; \
RET tries it again)"
                                   ""))))))
    (and password (not (string-empty-p password))
         (cons login password))))

(defun smtps-credentials--ask-if-possible (account from &optional refused)
  "Do as `smtps-credentials--ask' with its arguments, if a person is there.
They are ACCOUNT, FROM and REFUSED."
  (and (smtps-credentials--can-ask-p)
       (smtps-credentials--ask account from refused)))

(cl-defun smtps-credentials-fetch (account &key from ask)
  "See that the password of ACCOUNT is in memory; return non-nil if it is.
ACCOUNT is a plist as from `smtps-account-for'; FROM, the address of who
writes, by default its `:author', serves as the login where it has no
`:user'.  With ASK,
ask the user for what is nowhere to be found; without, only an account
with a `:user' is asked for, since others may need no login at all.

Call this only inside a command: what it looks in may ask, too.  In batch
and in keyboard macros it asks nothing.  Signal `smtps-credentials-error'
if a password command fails."
  (let* ((from (or from (plist-get account :author)))
         (account (if from (append (list :author from) account) account))
         (known (smtps-credentials--recall account from)))
    (cond
     ((cdr known) t)
     ((and known (not ask)) nil)
     (t
      (let* ((quiet (progn (require 'auth-source)
                           (smtps-credentials--quiet-p)))
             (found
              (if (plist-get account :password-command)
                  (smtps-credentials--from-command account from)
                (and (or quiet noninteractive
                         (smtps-credentials--can-ask-p))
                     (smtps-credentials--from-source account from))))
             (refused
              (and found (smtps-credentials--refused-p account from found)))
             (typed
              (and (or refused
                       (and (not found) (or ask (plist-get account :user))))
                   (smtps-credentials--ask-if-possible account from refused))))
        ;; That there is none is known only where all was looked at.
        (when (or found typed
                  (and (not (plist-get account :user))
                       (or quiet (smtps-credentials--can-ask-p))))
          (smtps-credentials--not-wanted account)
          (smtps-credentials--keep account from (car (or typed found))
                                   (cdr (or typed found)))
          (when typed
            (put (cdr (smtps-credentials--recall account from)) 'typed t))
          (and (or found typed) t)))))))

(defun smtps-credentials-at-hand (account)
  "See that the password of ACCOUNT is in memory, if that asks nothing.
Return non-nil if it is, or if it is known that there is none.  ACCOUNT is
as in `smtps-credentials-fetch'.  It is looked for only in plain files, and
not behind a source that might ask, and have another password."
  (let ((from (plist-get account :author)))
    (or (smtps-credentials--recall account from)
        (and (null (plist-get account :password-command))
             (let ((auth-sources (progn
                                   (require 'auth-source)
                                   (cl-loop for source in auth-sources
                                            while (smtps-credentials--quiet-source-p
                                                   source)
                                            collect source))))
               (and auth-sources
                    (let ((found (smtps-credentials--from-source account from)))
                      (and found
                           (not (smtps-credentials--refused-p account from found))
                           (smtps-credentials--keep account from (car found)
                                                    (cdr found))))))))))

(defun smtps-credentials-login (account &optional from)
  "Return the login of ACCOUNT and FROM if its password is in memory, or nil."
  (car (smtps-credentials--recall account from)))

(defun smtps-credentials-tell-password (account function)
  "Call FUNCTION with the password of ACCOUNT if it is in memory.
FUNCTION may not keep it.  Return its value, or nil."
  (let ((secret (cdr (smtps-credentials--recall account nil))))
    (and secret (funcall function (symbol-value secret)))))

;;; Passphrases

(defun smtps-credentials--key-file (account)
  "Return the file with the key of ACCOUNT's client certificate, or nil."
  (or (plist-get account :client-key) (plist-get account :client-certificate)))

(defun smtps-credentials--encrypted-p (file)
  "Return non-nil if the key in FILE, in PEM, needs a passphrase."
  (with-temp-buffer
    (ignore-errors (insert-file-contents-literally file))
    (let ((case-fold-search nil))
      (re-search-forward "^-----BEGIN ENCRYPTED \\|^Proc-Type:.*ENCRYPTED"
                         nil t))))

(defun smtps-credentials-fetch-passphrase (account &optional anew)
  "See that the passphrase of ACCOUNT's client key is known, if it needs one.
Return non-nil unless it needs one that is not known.  With ANEW, it is
needed here, too, if the helper has it.  Call this only inside a command.
In batch and in keyboard macros it asks nothing."
  (let ((file (smtps-credentials--key-file account)))
    (or (null file)
        (and (not anew) (member file smtps-credentials--given))
        (assoc file smtps-credentials--passphrases)
        (not (smtps-credentials--encrypted-p file))
        (and (smtps-credentials--can-ask-p)
             (let ((passphrase
                    (smtps-credentials-read
                     (format "Passphrase of the key %s: "
                             (abbreviate-file-name file)))))
               (unless (string-empty-p passphrase)
                 (setq smtps-credentials--keys-wanted
                       (delete file smtps-credentials--keys-wanted))
                 (push (cons file (smtps-credentials--secret passphrase))
                       smtps-credentials--passphrases)
                 t))))))

(defun smtps-credentials-tell-passphrase (account function)
  "Call FUNCTION with the passphrase of ACCOUNT's client key, if it is known.
It is given away with that.  FUNCTION may not keep it.  Return its value."
  (let* ((file (smtps-credentials--key-file account))
         (known (assoc file smtps-credentials--passphrases)))
    (when known
      (setq smtps-credentials--passphrases
            (delq known smtps-credentials--passphrases))
      (unwind-protect (funcall function (symbol-value (cdr known)))
        (smtps-credentials--erase-secret (cdr known))))))

(defun smtps-credentials-passphrase-wanted-p (account)
  "Return non-nil if the helper lacks the passphrase of ACCOUNT's client key."
  (let ((file (smtps-credentials--key-file account)))
    (and file
         (not (member file smtps-credentials--given))
         (not (assoc file smtps-credentials--passphrases))
         (smtps-credentials--encrypted-p file))))

(defun smtps-credentials-passphrase-refused (account)
  "Note that a secret of ACCOUNT was lacking, unless it was the password.
Then the passphrase that the helper has was not the right one."
  (unless (cl-member account smtps-credentials--wanted
                     :test #'smtps-credentials-same-p)
    (setq smtps-credentials--given
          (delete (smtps-credentials--key-file account)
                  smtps-credentials--given))))

;;; Saving

(defun smtps-credentials-accepted (account)
  "Note that the server took the password of ACCOUNT that is in memory."
  (let ((secret (cdr (smtps-credentials--recall account nil))))
    (when secret
      (put secret 'accepted t))))

(defun smtps-credentials--unsaved ()
  "Return what in memory was typed and accepted, and not yet offered to be saved."
  (and (bound-and-true-p auth-sources)
       (bound-and-true-p auth-source-save-behavior)
       (cl-remove-if-not
        (lambda (known)
          (let ((secret (cddr known)))
            (and secret (get secret 'typed) (get secret 'accepted)
                 (not (get secret 'offered)))))
        smtps-credentials--memory)))

(defun smtps-credentials-unsaved-p ()
  "Return non-nil if there are passwords that could be saved."
  (and (smtps-credentials--unsaved) t))

(defun smtps-credentials-save ()
  "Offer to save the passwords that were typed and that a server took.
auth-source asks, each once.  Call this only inside a command; it does
nothing in batch and in keyboard macros."
  (when (smtps-credentials--can-ask-p)
    (require 'auth-source)
    (dolist (known (smtps-credentials--unsaved))
      (pcase-let* ((`((,host ,port . ,_) . (,login . ,secret)) known)
                   (account (list :host host :port port :user login)))
        (put secret 'offered t)
        (smtps-credentials--forget-source host)
        (let* ((auth-source-creation-defaults
                (list (cons 'secret (copy-sequence (symbol-value secret)))))
               (save (plist-get
                      (car (auth-source-search
                            :max 1 :host host :user login :create t
                            :port (smtps-credentials--ports account)))
                      :save-function)))
          (if save
              (funcall save)
            ;; A second entry would be found behind the first.
            (message "auth-source has another password for “%s”: change it there"
                     (smtps-credentials-sought account))))
        ;; What was offered is remembered there, too.
        (smtps-credentials--forget-source host)))))

;;; Serving the helper

(defun smtps-credentials-same-p (a b)
  "Return non-nil if A and B log in at the same place with the same name."
  (equal (smtps-credentials--key a nil) (smtps-credentials--key b nil)))

(defun smtps-credentials--not-wanted (account)
  "Take ACCOUNT off the list of those to ask about."
  (setq smtps-credentials--wanted
        (cl-delete-if (lambda (wanted)
                        (smtps-credentials-same-p wanted account))
                      smtps-credentials--wanted)))

(defun smtps-credentials-wanted ()
  "Return the accounts whose password the helper wanted and didn't get."
  (copy-sequence smtps-credentials--wanted))

(defun smtps-credentials-answer (plist)
  "Return what answers the helper's request PLIST for credentials.
Its properties are `:account', `:host', `:port', `:user', `:from', and
`:again', which says that the last answer was refused.  The result is a
plist of `:user' and `:password'; nil if there are none; `later' if a
person must be asked."
  (let* ((account (list :name (plist-get plist :account)
                        :host (plist-get plist :host)
                        :port (plist-get plist :port)
                        :user (plist-get plist :user)
                        :author (plist-get plist :from)))
         (known nil))
    (when (plist-get plist :again)
      (smtps-credentials-forget account))
    (setq known (smtps-credentials--recall account nil))
    (cond
     ((cdr known)
      (list :user (car known) :password (symbol-value (cdr known))))
     (known nil)
     (t
      (smtps-credentials--not-wanted account)
      (push account smtps-credentials--wanted)
      'later))))

(defun smtps-credentials-answer-passphrase (plist)
  "Return what answers the helper's request PLIST for a passphrase.
Its property `:file' names the key.  The result is a plist with
`:password', or `later' if a person must be asked."
  (let* ((file (plist-get plist :file))
         (known (assoc file smtps-credentials--passphrases)))
    (cond
     (known
      (setq smtps-credentials--passphrases
            (delq known smtps-credentials--passphrases))
      (cl-pushnew file smtps-credentials--given :test #'equal)
      (list :password (symbol-value (cdr known))))
     (t
      (setq smtps-credentials--given (delete file smtps-credentials--given))
      (cl-pushnew file smtps-credentials--keys-wanted :test #'equal)
      'later))))

(defun smtps-credentials-serve ()
  "Let the helper ask for credentials."
  (add-hook 'smtps-helper-death-functions #'smtps-credentials--erase-all)
  (smtps-helper-serve 'credentials #'smtps-credentials-answer t)
  (smtps-helper-serve 'passphrase #'smtps-credentials-answer-passphrase t))

(provide 'smtps-credentials)
;;; smtps-credentials.el ends here
