;;; smtps-credentials.el --- The password, and who may have it  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; Passwords are looked up, and asked for, inside commands only, and then
;; kept in memory; the helper, which asks for them while Emacs is doing
;; something else, is answered from memory, or with `later'.
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
(defvar auth-sources)

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

(defvar smtps-credentials--wanted nil
  "The accounts that the helper was answered `later' for, as plists.")

;;; Memory

(defun smtps-credentials--key (account from)
  "Return the key in memory for ACCOUNT; FROM counts where it has no user."
  (let ((user (plist-get account :user)))
    (list (downcase (plist-get account :host)) (plist-get account :port)
          user (and (not user) from (downcase from)))))

(defun smtps-credentials--recall (account from)
  "Return (LOGIN . SECRET) for ACCOUNT and FROM, or nil if nothing is known.
FROM nil stands for the newest one of an account without a user."
  (let ((key (smtps-credentials--key account from)))
    (cdr (or (assoc key smtps-credentials--memory)
             (and (null from) (null (plist-get account :user))
                  (cl-find-if (lambda (known)
                                (and (equal (nth 0 (car known)) (nth 0 key))
                                     (equal (nth 1 (car known)) (nth 1 key))
                                     (null (nth 2 (car known)))))
                              smtps-credentials--memory))))))

(defun smtps-credentials--keep (account from login password)
  "Remember LOGIN and PASSWORD, or with nil their absence, for ACCOUNT and FROM.
Return non-nil if there is a password."
  (let ((secret (and password (make-symbol "smtps-secret"))))
    (when secret
      (set secret password))
    (setf (alist-get (smtps-credentials--key account from)
                     smtps-credentials--memory nil nil #'equal)
          (cons (and secret login) secret))
    (and secret t)))

(defun smtps-credentials--erase (known)
  "Overwrite the password that is in KNOWN, an element of the memory."
  (let ((secret (cddr known)))
    (when (and secret (stringp (symbol-value secret)))
      (ignore-errors (clear-string (symbol-value secret)))
      (set secret nil))))

(defun smtps-credentials--forget-source (host)
  "Make auth-source look afresh for HOST, a miss included."
  ;; With a port, or a list of them, it forgets nothing.
  (when (fboundp 'auth-source-forget+)
    (auth-source-forget+ :host host)))

(defun smtps-credentials-forget (account)
  "Forget what is known of ACCOUNT's password: it was refused, or changed."
  (setq smtps-credentials--memory
        (cl-delete-if
         (lambda (known)
           (when (and (equal (nth 0 (car known))
                             (downcase (plist-get account :host)))
                      (equal (nth 1 (car known)) (plist-get account :port))
                      (or (null (plist-get account :user))
                          (null (nth 2 (car known)))
                          (equal (nth 2 (car known)) (plist-get account :user))))
             (smtps-credentials--erase known)
             t))
         smtps-credentials--memory))
  (smtps-credentials--forget-source (plist-get account :host)))

(defun smtps-credentials-forget-all ()
  "Forget every password that smtps has in memory."
  (interactive)
  (mapc #'smtps-credentials--erase smtps-credentials--memory)
  (mapc #'smtps-credentials--forget-source
        (delete-dups (mapcar #'caar smtps-credentials--memory)))
  (setq smtps-credentials--memory nil)
  (when (called-interactively-p 'interactive)
    (message "smtps has forgotten all passwords; they will be looked up anew")))

;;; Looking up

(defun smtps-credentials--can-ask-p ()
  "Return non-nil if a person is there and may be asked now."
  (not (or noninteractive executing-kbd-macro)))

(defun smtps-credentials--quiet-p ()
  "Return non-nil if looking in `auth-sources' surely asks nothing.
So it is with plain files."
  (cl-every (lambda (source)
              (let ((file (if (stringp source) source
                            (plist-get (and (consp source) source) :source))))
                (and (stringp file)
                     (not (string-match-p "\\.\\(?:gpg\\|plist\\)\\'" file))
                     (or (not (stringp source))
                         (not (file-remote-p file))))))
            (bound-and-true-p auth-sources)))

(defun smtps-credentials--search (account from)
  "Return the entry of auth-source for ACCOUNT and the address FROM, or nil.
It is looked for with the account's user; where that has none, with FROM
as the user, and then with any if there is exactly one."
  (require 'auth-source)
  (let* ((host (plist-get account :host))
         (port (plist-get account :port))
         (user (plist-get account :user))
         ;; Without ports, the password of the mail that comes in is found.
         (ports (cons (number-to-string port)
                      (cdr (assq port smtps-credentials--services))))
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

(defun smtps-credentials--from-command (account from)
  "Return (LOGIN . PASSWORD) for ACCOUNT from its `:password-command'.
LOGIN is FROM where the account has no user.  The password is the first
line that the command prints.  Signal `smtps-credentials-error' if it fails."
  (let ((login (or (plist-get account :user) from))
        (default-directory (expand-file-name "~/"))
        status password)
    (with-temp-buffer
      (setq status (let ((coding-system-for-read 'utf-8-unix))
                     (call-process shell-file-name nil '(t nil) nil
                                   shell-command-switch
                                   (plist-get account :password-command))))
      (goto-char (point-min))
      (setq password (buffer-substring-no-properties
                      (point) (line-end-position)))
      (erase-buffer))
    (cond
     ((not (eql status 0))
      (signal 'smtps-credentials-error
              (list (format "The password command of %s failed (%s)"
                            (smtps-credentials--name account) status))))
     ((string-empty-p password)
      (signal 'smtps-credentials-error
              (list (format "The password command of %s printed nothing"
                            (smtps-credentials--name account)))))
     (login (cons login password)))))

(defun smtps-credentials--name (account)
  "Return the name that a person knows ACCOUNT by."
  (or (plist-get account :name) (plist-get account :host)))

(defun smtps-credentials--ask (account from)
  "Ask for ACCOUNT's password; return (LOGIN . PASSWORD), or nil if empty.
LOGIN is FROM where the account has no user."
  (let* ((login (or (plist-get account :user) from))
         (password (and login
                        (read-passwd (format "Password of %s at %s: " login
                                             (plist-get account :host))))))
    ;; Or it can be seen with \\[view-lossage].
    (clear-this-command-keys)
    (and password (not (string-empty-p password))
         (cons login password))))

(cl-defun smtps-credentials-fetch (account &key from ask)
  "See that the password of ACCOUNT is in memory; return non-nil if it is.
ACCOUNT is a plist as from `smtps-account-for'; FROM, the sender's
address, serves as the login where the account has no `:user'.  With ASK,
ask the user for what is nowhere to be found; without, only an account
with a `:user' is asked for, since others may need no login at all.

Call this only inside a command: what it looks in may ask, too.  In batch
and in keyboard macros it asks nothing.  Signal `smtps-credentials-error'
if a password command fails."
  (let ((known (smtps-credentials--recall account from)))
    (cond
     ((cdr known) t)
     ((and known (not ask)) nil)
     (t
      (let* ((quiet (progn (require 'auth-source)
                           (smtps-credentials--quiet-p)))
             (found
              (or (if (plist-get account :password-command)
                      (smtps-credentials--from-command account from)
                    (and (or quiet noninteractive
                             (smtps-credentials--can-ask-p))
                         (smtps-credentials--from-source account from)))
                  (and (or ask (plist-get account :user))
                       (smtps-credentials--can-ask-p)
                       (smtps-credentials--ask account from)))))
        ;; That there is none is known only where all was looked at.
        (when (or found (and (not (plist-get account :user))
                             (or quiet (smtps-credentials--can-ask-p))))
          (smtps-credentials--not-wanted account)
          (smtps-credentials--keep account from
                                   (car found) (cdr found))))))))

;;; Serving the helper

(defun smtps-credentials--same-p (a b)
  "Return non-nil if A and B log in at the same place with the same name."
  (and (equal (plist-get a :host) (plist-get b :host))
       (equal (plist-get a :port) (plist-get b :port))
       (equal (plist-get a :user) (plist-get b :user))))

(defun smtps-credentials--not-wanted (account)
  "Take ACCOUNT off the list of those to ask about."
  (setq smtps-credentials--wanted
        (cl-delete-if (lambda (wanted)
                        (smtps-credentials--same-p wanted account))
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
                        :user (plist-get plist :user)))
         (known nil))
    (when (plist-get plist :again)
      (smtps-credentials-forget account))
    (setq known (smtps-credentials--recall account (plist-get plist :from)))
    (cond
     ((cdr known)
      (list :user (car known) :password (symbol-value (cdr known))))
     (known nil)
     (t
      (smtps-credentials--not-wanted account)
      (push account smtps-credentials--wanted)
      'later))))

(defun smtps-credentials-serve ()
  "Let the helper ask for credentials."
  (smtps-helper-serve 'credentials #'smtps-credentials-answer t))

(provide 'smtps-credentials)
;;; smtps-credentials.el ends here
