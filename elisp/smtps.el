;;; smtps.el --- Send mail and type SMTP by hand over TLS  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; Author: The smtps authors
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1"))
;; Keywords: mail comm
;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;; smtps is free software: you can redistribute it and/or modify it
;; under the terms of the GNU General Public License as published by
;; the Free Software Foundation, either version 3 of the License, or
;; (at your option) any later version.
;;
;; smtps is distributed in the hope that it will be useful, but WITHOUT
;; ANY WARRANTY; without even the implied warranty of MERCHANTABILITY
;; or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public
;; License for more details.
;;
;; You should have received a copy of the GNU General Public License
;; along with smtps.  If not, see <https://www.gnu.org/licenses/>.

;;; Commentary:

;; (smtps-mode 1) in the init file is the whole set-up: mail that is
;; sent from Emacs is safe on disk before the command returns, and goes
;; out in the background.  M-x smtps-session opens a buffer in which
;; the SMTP dialogue is typed by hand; M-x smtps-sandbox does so with a
;; server of its own, which delivers to nobody.
;;
;; This file is the face: options, accounts, the mode, the menu.  It
;; loads nothing else before it is needed.

;;; Code:

(require 'cl-lib)

(defgroup smtps nil
  "Send mail, and type SMTP by hand, over TLS."
  :group 'mail
  :prefix "smtps-")

(custom-add-load 'smtps 'smtps-session)

;; What `define-error' does; the root of the tree is in smtps-wire.el,
;; which nobody needs who only reads the accounts.
(put 'smtps-account-error 'error-conditions
     '(smtps-account-error smtps-error error))
(put 'smtps-account-error 'error-message "Account")

;;; Accounts

(defcustom smtps-accounts nil
  "The servers that mail is handed to: an alist of names and properties.
The properties of each account are:

`:host'     the server's name, as its certificate has it;
`:port'     its port; by default the one that belongs to `:tls';
`:tls'      `implicit' (TLS from the first byte, port 465), `starttls'
            (TLS after a STARTTLS, port 587; never without), or `none'
            (a server on this machine).  The default goes by the port;
`:user'     the login; without it, the password file tells it;
`:from'     the address, or list of addresses, this account is for;
            \"@example.org\" stands for every address there;
`:mechanisms'  names of SASL mechanisms, the first choice first; by
            default smtps chooses;
`:ca-file'  a file of certificates to trust instead of the system's;
`:client-certificate'  a file with our certificate and its key, or a list
            of two files, the certificate and the key;
`:password-command'  a shell command that prints the password, one line;
`:send-in-clear'  t to let mail and password go without TLS to another
            machine, where anybody on the way can read them;
`:server-keeps-sent'  t if the provider itself files the mail that is
            sent: then no copy is made of it here, whatever Fcc or
            Gcc says.

Mail goes by the account whose `:from' is the sender, else by the one for all
of the sender's domain, else by the first account without a `:from', else by
the only one.  Where this is nil,
the smtpmail variables are the account."
  :type '(alist
          :key-type (string :tag "Name")
          ;; Not `plist', which takes any value of any key.
          :value-type
          (set :tag "Properties" :greedy t
               (list :inline t :format "%v"
                     (const :format "%v " :host)
                     string)
               (list :inline t :format "%v"
                     (const :format "%v " :port)
                     natnum)
               (list :inline t :format "%v"
                     (const :format "%v " :tls)
                     (choice (const :tag "From the first byte" implicit)
                             (const :tag "By STARTTLS" starttls)
                             (const :tag "None (this machine)" none)))
               (list :inline t :format "%v"
                     (const :format "%v " :user)
                     (string :tag "Login"))
               (list :inline t :format "%v"
                     (const :format "%v " :from)
                     (choice (string :tag "Address")
                             (repeat :tag "Addresses" string)))
               (list :inline t :format "%v"
                     (const :format "%v " :mechanisms)
                     (repeat (string :tag "Mechanism")))
               (list :inline t :format "%v"
                     (const :format "%v " :ca-file)
                     file)
               (list :inline t :format "%v"
                     (const :format "%v " :client-certificate)
                     (choice (file :tag "Certificate and key")
                             (list (file :tag "Certificate")
                                   (file :tag "Key"))))
               (list :inline t :format "%v"
                     (const :format "%v " :password-command)
                     (string :tag "Shell command"))
               (list :inline t :format "%v"
                     (const :format "%v " :send-in-clear)
                     (const :tag "Without TLS to another machine" t))
               (list :inline t :format "%v"
                     (const :format "%v " :server-keeps-sent)
                     (const :tag "No copy is made here" t))))
  :risky t)

(defun smtps--xdg (variable usual name)
  "Return our file NAME in the directory that VARIABLE, else USUAL, names.
VARIABLE is one of the environment's (XDG Base Directory Specification);
the helper reads it by the same rule: it counts if it begins with /."
  (let ((base (getenv variable)))
    (expand-file-name (concat "smtps/" name)
                      (if (and base (string-prefix-p "/" base)) base usual))))

;; These are of other files, but may be bound before those are loaded.

(defcustom smtps-outbox-directory
  (smtps--xdg "XDG_DATA_HOME" "~/.local/share" "outbox")
  "The directory in which mail is kept until it is accepted, and after.
The command line uses the same one."
  :type 'directory)

(defcustom smtps-send-delay 0
  "Seconds that a mail waits in the outbox before it goes.
During that time \\[smtps-undo-send] takes it back."
  :type 'natnum)

(defcustom smtps-keep-sent-days 365
  "Days for which the outbox keeps a mail that was sent; nil keeps all.
The helper deletes older ones while it sends mail.  One of which something
is still to be done, like a copy, stays."
  :type '(choice (const :tag "Keep all" nil)
                 (natnum :tag "Days"))
  :package-version '(smtps . "0.1.0"))

(defcustom smtps-future-release nil
  "Whether a mail for a later time is handed to its server at once.
It is where the server offers to hold it until then (FUTURERELEASE, RFC
4865), and then goes even if this machine is off, but can't be taken back.
By other servers it goes from the outbox when its time has come."
  :type 'boolean)

(defcustom smtps-refused-recipients 'serve
  "What becomes of a mail when the server refuses some of its recipients.
`serve' sends it to the others.  With `hold' nobody gets it before you have
decided in \\[smtps-outbox]; that takes a round trip more."
  :type '(choice (const :tag "The others get it" serve)
                 (const :tag "Nobody gets it before I have decided" hold)))

(defcustom smtps-warm-while-composing t
  "Whether to connect and log in while a mail is being composed.
Then sending it takes one round trip.  It is done only where the password
is in memory, or in a file that is not encrypted: nothing is asked."
  :type 'boolean)

(defcustom smtps-helper-command nil
  "The helper's whole command, a list of program and arguments, or nil.
If nil, what `smtps-install-helper' installed is used, else the
Python of a checkout's `.venv', else `python3'."
  :type '(choice (const :tag "Find it" nil)
                 (repeat :tag "Program and arguments" string)))

(defconst smtps--ports '((implicit . 465) (starttls . 587) (none . 25))
  "The port that belongs to a way of TLS (RFC 8314 3.3, RFC 6409 3.1).")

(defconst smtps--services
  '(("smtp" . 25) ("submission" . 587) ("submissions" . 465) ("smtps" . 465)
    ("urd" . 465))
  "The ports of the service names that mail set-ups use for SMTP.")

(defun smtps--refuse-account (name format-string &rest arguments)
  "Signal `smtps-account-error' about account NAME.
FORMAT-STRING and ARGUMENTS say in a sentence what is wrong."
  (signal 'smtps-account-error
          (list (concat (if name (format "Account \"%s\": " name) "")
                        (apply #'format-message format-string arguments)
                        "  Nothing was sent."))))

(defun smtps-loopback-p (host)
  "Return non-nil if HOST, a name or an address, can only be this machine."
  (string-match-p
   "\\`\\(?:localhost\\|.+\\.localhost\\|127\\(?:\\.[0-9]+\\)\\{3\\}\\|\\[?::1]?\\)\\.?\\'"
   (downcase host)))

(defun smtps--text-p (value)
  "Return non-nil if VALUE is a non-empty string without control characters."
  (and (stringp value) (not (equal value ""))
       (not (string-match-p "[\0-\x1f\x7f-\u009f]" value))))

(defun smtps--texts-p (value)
  "Return non-nil if VALUE is a list of texts, as for `smtps--text-p'."
  (and (proper-list-p value) (cl-every #'smtps--text-p value)))

(defun smtps--from-pattern (text)
  "Return the address in TEXT, or TEXT if it is \"@DOMAIN\"; nil if neither.
A name may stand before an address in angle brackets (RFC 5322 3.4)."
  (let ((address (if (string-match "\\`[^<>]*<\\([^<>]+\\)>[ \t]*\\'" text)
                     (match-string 1 text)
                   text)))
    (and (string-match-p "\\`\\(?:\"[^\"]*\"\\|[^][\"(),:;<>@ \t]*\\)\\(?:@[^\"(),;<>@ \t]+\\)?\\'"
                         address)
         (not (equal address ""))
         address)))

(defconst smtps--account-keys
  '(:name :host :port :tls :user :from :mechanisms :ca-file :client-certificate
    :client-key :password-command :send-in-clear :server-keeps-sent)
  "What an account may have; `:name' and `:client-key' are ours.")

(defun smtps--check-account (name plist)
  "Return account PLIST, called NAME, whole: its defaults filled in, checked.
The result is a plist with `:name', `:host', `:port', `:tls', `:user',
`:from' (a list), `:mechanisms', `:ca-file', `:client-certificate',
`:client-key', `:password-command', `:send-in-clear' and
`:server-keeps-sent'.
Signal `smtps-account-error' where a value can't be."
  (let* ((host (plist-get plist :host))
         (port (plist-get plist :port))
         (tls (or (plist-get plist :tls)
                  (if (memq port '(25 587)) 'starttls 'implicit)))
         (from (plist-get plist :from))
         (mechanisms (plist-get plist :mechanisms))
         (certificate (ensure-list (plist-get plist :client-certificate)))
         (in-clear (plist-get plist :send-in-clear)))
    (cl-loop for key in plist by #'cddr
             unless (memq key smtps--account-keys)
             do (smtps--refuse-account name "there is no property %S." key))
    (unless (and (smtps--text-p host) (not (string-match-p "[[:space:]]" host)))
      (smtps--refuse-account
       name "its :host must be the name of a server, not %S." host))
    (unless (assq tls smtps--ports)
      (smtps--refuse-account
       name "its :tls must be implicit, starttls or none, not %S." tls))
    (setq port (or port (alist-get tls smtps--ports)))
    (unless (and (integerp port) (< 0 port 65536))
      (smtps--refuse-account
       name "its :port must be a number from 1 to 65535, not %S." port))
    ;; In so many words: no other value lets mail out in clear.
    (unless (memq in-clear '(nil t))
      (smtps--refuse-account
       name "its :send-in-clear must be t or nil, not %S." in-clear))
    (when (and (eq tls 'none) (not in-clear) (not (smtps-loopback-p host)))
      (smtps--refuse-account
       name "without TLS, mail and password could be read on the way to %s; \
only :send-in-clear t lets them go." host))
    (unless (and (smtps--texts-p certificate)
                 (null (cddr certificate)))
      (smtps--refuse-account
       name "its :client-certificate must be a file, or a list of two: \
certificate and key."))
    (dolist (key '(:user :ca-file :password-command))
      (let ((value (plist-get plist key)))
        (unless (or (null value) (smtps--text-p value))
          (smtps--refuse-account
           name "its %s must be one line of text." key))))
    (setq from (ensure-list from)
          mechanisms (ensure-list mechanisms))
    (unless (smtps--texts-p from)
      (smtps--refuse-account
       name "its :from must be an address or a list of addresses, not %S." from))
    (setq from (mapcar (lambda (text)
                         (or (smtps--from-pattern text)
                             (smtps--refuse-account
                              name "its :from must be an address, like \
me@example.org, or \"@example.org\" for all of a domain, not %S." text)))
                       from))
    (unless (smtps--texts-p mechanisms)
      (smtps--refuse-account
       name "its :mechanisms must be a list of names, like (\"PLAIN\")."))
    (let ((file (lambda (key)
                  (and (plist-get plist key)
                       (expand-file-name (plist-get plist key))))))
      (list :name name :host host :port port :tls tls
            :user (plist-get plist :user)
            :from from :mechanisms mechanisms
            :ca-file (funcall file :ca-file)
            :client-certificate (and certificate
                                     (expand-file-name (car certificate)))
            :client-key (and (cdr certificate)
                             (expand-file-name (cadr certificate)))
            :password-command (plist-get plist :password-command)
            :send-in-clear in-clear
            :server-keeps-sent (plist-get plist :server-keeps-sent)))))

(declare-function smtps-accounts-file-read "smtps-accounts-file" ())

(defun smtps-known-accounts ()
  "Return the accounts that there are, as `smtps-accounts' has them.
Where that is nil they are those of the accounts file, which the helper
reads.  Signal `smtps-account-error' if that file, or the option, is not
right."
  (if smtps-accounts
      (smtps--checked-accounts)
    (smtps-accounts-file-read)))

(defun smtps--checked-accounts ()
  "Return `smtps-accounts', in which each account has a name and properties."
  (unless (proper-list-p smtps-accounts)
    (smtps--refuse-accounts smtps-accounts))
  (mapcar
   (lambda (entry)
     (let ((name (car-safe entry)))
       ;; A symbol is as good as its name.
       (when (and name (symbolp name) (not (keywordp name)))
         (setq name (symbol-name name)))
       (unless (and (smtps--text-p name)
                    (consp (cdr entry))
                    (proper-list-p entry))
         (smtps--refuse-accounts entry))
       (unless (zerop (% (length (cdr entry)) 2))
         (smtps--refuse-account name "its property %S has no value."
                                (car (last entry))))
       (cons name (cdr entry))))
   smtps-accounts))

(defun smtps--refuse-accounts (value)
  "Signal `smtps-account-error': VALUE, in `smtps-accounts', is no account."
  (smtps--refuse-account
   nil "The option smtps-accounts must be a list of accounts, each like \
(\"work\" :host \"smtp.example.org\"); in it is %S." value))

(defun smtps-account (name)
  "Return the account called NAME, checked and whole (a plist).
Signal `smtps-account-error' if there is none, or it can't be used."
  (let ((entry (assoc name (smtps-known-accounts))))
    (unless entry
      (smtps--refuse-account nil "There is no account called \"%s\"." name))
    (smtps--check-account name (cdr entry))))

(defun smtps--from-match-p (pattern address)
  "Return non-nil if PATTERN, an address or \"@DOMAIN\", covers ADDRESS."
  (let ((pattern (downcase pattern))
        (address (downcase address)))
    (if (string-prefix-p "@" pattern)
        (string-suffix-p pattern address)
      (string= pattern address))))

(defvar smtpmail-smtp-server)
(defvar smtpmail-default-smtp-server)
(defvar smtpmail-smtp-service)
(defvar smtpmail-stream-type)
(defvar smtpmail-smtp-user)

(defun smtps--service-port (service)
  "Return the port number that SERVICE, a number or a name, stands for.
Return nil for a name that is not one of SMTP's."
  (cond ((integerp service) service)
        ((not (stringp service)) nil)
        ((string-match-p "\\`[0-9]+\\'" service) (string-to-number service))
        (t (cdr (assoc (downcase service) smtps--services)))))

(defun smtps--smtpmail-account (&optional host service user)
  "Return the account that the smtpmail variables describe, whole.
They are read in the current buffer, where they may have local values;
smtpmail itself is not needed.  HOST, SERVICE and USER, if given, stand
in their stead.  Signal `smtps-account-error' if no server is named."
  (let* ((server (or host
                     (bound-and-true-p smtpmail-smtp-server)
                     (bound-and-true-p smtpmail-default-smtp-server)
                     (getenv "SMTPSERVER")))
         (service (or service (bound-and-true-p smtpmail-smtp-service) 25))
         (port (smtps--service-port service))
         (stream (bound-and-true-p smtpmail-stream-type)))
    (unless (and server (not (equal server "")))
      (smtps--refuse-account
       nil "No mail server is known: set `smtps-accounts'."))
    (unless port
      (smtps--refuse-account
       nil "`smtpmail-smtp-service' is %S: give the port's number." service))
    (smtps--check-account
     nil
     (list :host server :port port
           :tls (cond ((or (memq stream '(ssl tls)) (= port 465)) 'implicit)
                      ((eq stream 'starttls) 'starttls)
                      ((eq stream 'plain) 'none)
                      ((smtps-loopback-p server) 'none)
                      (t 'starttls))
           :user (or user (bound-and-true-p smtpmail-smtp-user))))))

(defun smtps-account-for (from)
  "Return the account for mail from the address FROM, checked and whole.
That is a plist as `smtps-accounts' describes, and `:name', which is nil
where it was made from the smtpmail variables.  Signal
`smtps-account-error' if none can be chosen."
  (let ((known (smtps-known-accounts)))
    (if (null known)
        (smtps--smtpmail-account)
      (let* ((accounts (mapcar (lambda (entry)
                                 (smtps--check-account (car entry) (cdr entry)))
                               known))
             (claiming (lambda (of-domain)
                         (cl-find-if
                          (lambda (account)
                            (cl-some (lambda (pattern)
                                       (and (eq of-domain
                                                (string-prefix-p "@" pattern))
                                            (smtps--from-match-p pattern from)))
                                     (plist-get account :from)))
                          accounts))))
        ;; Its own address tells more than its domain, wherever it stands.
        (or (funcall claiming nil)
            (funcall claiming t)
            (cl-find-if-not (lambda (account) (plist-get account :from)) accounts)
            (and (null (cdr accounts)) (car accounts))
            (smtps--refuse-account
             nil "None of the accounts is for mail from %s: put it into the :from of one."
             from))))))

;;; The mode

(declare-function smtps-send-it "smtps-send" ())
(declare-function smtps-send-follow-up "smtps-send" ())
(declare-function smtps-send-queued "smtps-send" (&optional quietly))
(declare-function smtps-send-check-recipients "smtps-send" ())
(declare-function smtps-send-divert "smtps-send" ())
(declare-function smtps-send-query-quit "smtps-send" ())
(declare-function smtps-route-show "smtps-route" ())
(declare-function smtps-warm-compose "smtps-warm" ())
(declare-function smtps-mode-line-show "smtps-mode-line" (on))
(defvar send-mail-function)
(defvar message-send-mail-function)

(defconst smtps--idle-pause 1
  "Seconds of idleness before mail that waits from an earlier day is taken up.
Long enough for the init file and the first screen to be done.")

(defvar smtps--former-functions nil
  "The send functions from before `smtps-mode': an alist variable -> value.")

(defvar smtps-mode)

(defun smtps--take-up-queue ()
  "Send what waits in the outbox, if anything does, and show it."
  (when smtps-mode
    ;; In a timer it would be printed as Lisp.
    (condition-case problem
        (progn
          (smtps-mode-line-show t)
          (smtps-send-queued t)
          (smtps-send-follow-up)
          (smtps-untold-tell))
      (smtps-error (message "smtps: %s" (cadr problem))))))

(defun smtps--query-quit ()
  "Return non-nil if Emacs may quit: no mail of its own is in flight."
  (or (not (featurep 'smtps-send))
      (smtps-send-query-quit)))

(defvar smtps-mode-map
  (let ((map (make-sparse-keymap)))
    ;; C-c with punctuation is for minor modes.
    (define-key map (kbd "C-c _") #'smtps-undo-send)
    map)
  "Keymap of `smtps-mode'.")

;; With a function in one of mail-mode's own hooks, `compose-mail' warns of it.
(defun smtps--compose ()
  "See to the mail that is going to be composed in this buffer, if one is."
  (when (derived-mode-p 'message-mode 'mail-mode)
    (smtps-warm-compose)
    (smtps-route-show)))

;;;###autoload
(define-minor-mode smtps-mode
  "Send all mail by smtps.
The command that sends a mail then leaves it in the outbox, safe on disk,
and Emacs goes on while it is handed to the server of `smtps-accounts'.
Mail left in the outbox from earlier is sent too.  The mode line tells of
mail under way, and quitting Emacs asks about it.  Turning the mode off gives
`send-mail-function' and `message-send-mail-function' back their values."
  :global t
  :group 'smtps
  :keymap smtps-mode-map
  (let ((variables '(send-mail-function message-send-mail-function)))
    (cond
     (smtps-mode
      (dolist (variable variables)
        ;; Unbound until its library is loaded, which then keeps our value.
        (unless (and (default-boundp variable)
                     (eq (default-value variable) #'smtps-send-it))
          (setf (alist-get variable smtps--former-functions)
                (if (default-boundp variable)
                    (list (default-value variable))
                  'unbound)))
        (set-default variable #'smtps-send-it))
      (add-hook 'message-send-hook #'smtps-send-divert)
      (add-hook 'message-send-hook #'smtps-send-check-recipients)
      (add-hook 'after-change-major-mode-hook #'smtps--compose)
      (add-hook 'mu4e-compose-mode-hook #'smtps-mu4e-prepare)
      (add-hook 'mu4e-main-mode-hook #'smtps-mu4e-resume)
      (add-hook 'notmuch-message-mode-hook #'smtps-notmuch-prepare)
      (add-hook 'kill-emacs-query-functions #'smtps--query-quit)
      (unless noninteractive
        (run-with-idle-timer smtps--idle-pause nil #'smtps--take-up-queue)))
     (t
      (remove-hook 'message-send-hook #'smtps-send-divert)
      (remove-hook 'message-send-hook #'smtps-send-check-recipients)
      (remove-hook 'after-change-major-mode-hook #'smtps--compose)
      (remove-hook 'mu4e-compose-mode-hook #'smtps-mu4e-prepare)
      (remove-hook 'mu4e-main-mode-hook #'smtps-mu4e-resume)
      (remove-hook 'notmuch-message-mode-hook #'smtps-notmuch-prepare)
      (remove-hook 'kill-emacs-query-functions #'smtps--query-quit)
      (when (featurep 'smtps-mode-line)
        (smtps-mode-line-show nil))
      (pcase-dolist (`(,variable . ,former) smtps--former-functions)
        (when (and (default-boundp variable)
                   (eq (default-value variable) #'smtps-send-it))
          (cond
           ((consp former) (set-default variable (car former)))
           ;; Loaded since then: its own default, not a hole.
           ((get variable 'standard-value)
            (set-default variable
                         (eval (car (get variable 'standard-value)) t)))
           (t (makunbound variable)))))
      (setq smtps--former-functions nil)))))

;;; The sandbox

(declare-function smtps-helper-program "smtps-helper" ())
(declare-function smtps-wire-read "smtps-wire" (string))
(declare-function smtps-session "smtps-session")
(declare-function smtps-session-note-name "smtps-session-state" (host port name))

(defconst smtps--sandbox-seconds 20
  "Seconds in which the sandbox must be ready; making its keys takes one or two.")

(defvar smtps--sandbox nil
  "The process of the sandbox, or nil.")

(defun smtps--sandbox-failed (process errors)
  "Signal an error: PROCESS did not start.  The buffer ERRORS has the reason."
  (let ((lines (with-current-buffer errors
                 (split-string (buffer-string) "\n" t "[ \t]+"))))
    (delete-process process)
    (user-error "The sandbox did not start: %s"
                (or (car (last (cl-remove-if
                                (lambda (line) (string-prefix-p "Process " line))
                                lines)))
                    (format "nothing was heard of it for %d seconds"
                            smtps--sandbox-seconds)))))

(defun smtps-sandbox-start (&rest words)
  "Start a mail server of our own, or find it running; wait until it is ready.
Its report is returned, a plist of `:host', `:port',
`:starttls-port', `:ca-file', `:user', `:password', `:maildir' and `:pid'.
It delivers to its own Maildir only, and ends with Emacs.
WORDS are options of the command smtps sandbox, for one that is started."
  (require 'smtps-helper)
  (require 'smtps-wire)
  (unless (process-live-p smtps--sandbox)
    (let* ((default-directory (expand-file-name "~/"))
           (deadline (time-add nil smtps--sandbox-seconds))
           (errors (generate-new-buffer " *smtps sandbox errors*"))
           (heard "")
           (process (make-process
                     :name "smtps-sandbox"
                     :command (append (smtps-helper-program)
                                      '("sandbox" "--report" "sexp") words)
                     :connection-type 'pipe :coding 'utf-8-unix
                     :noquery t :stderr errors :sentinel #'ignore
                     :filter (lambda (_process text)
                               (setq heard (concat heard text))))))
      (set-process-query-on-exit-flag (get-buffer-process errors) nil)
      (set-process-sentinel (get-buffer-process errors) #'ignore)
      (unwind-protect
          (progn
            (while (not (string-match "\\`\\(.*\\)\n" heard))
              (unless (and (process-live-p process)
                           (time-less-p nil deadline))
                ;; Its last words may still be on their way.
                (accept-process-output (get-buffer-process errors) 0.5)
                (smtps--sandbox-failed process errors))
              (accept-process-output process 0.1))
            (process-put process 'smtps-report
                         (cdr (smtps-wire-read (match-string 1 heard))))
            (setq smtps--sandbox process))
        ;; While it runs, its log must have somewhere to go.
        (unless (eq smtps--sandbox process)
          (delete-process process)
          (kill-buffer errors)))))
  (process-get smtps--sandbox 'smtps-report))

;;;###autoload
(defun smtps-sandbox ()
  "Open a session with a mail server of our own, to try things out.
It is started if need be, delivers to its own Maildir only, and ends with
Emacs or `smtps-sandbox-stop'.  Its login stands above the session."
  (interactive)
  (message "Starting the sandbox...")
  (let ((report (smtps-sandbox-start)))
    (with-current-buffer (smtps-session (plist-get report :host)
                                        (plist-get report :port)
                                        :tls 'implicit
                                        :ca-file (plist-get report :ca-file))
      (setq header-line-format
            (list header-line-format
                  (list 'smtps-session-mechanism
                        ""
                        ;; A percent sign in a name is not a construct of the line.
                        (replace-regexp-in-string
                         "%" "%%"
                         (format "  | %s / %s"
                                 (plist-get report :user)
                                 (plist-get report :password))))))
      (smtps-session-note-name (plist-get report :host) (plist-get report :port)
                               (plist-get report :user))
      (message "The sandbox is at %s:%d; mail arrives in %s"
               (plist-get report :host) (plist-get report :port)
               (abbreviate-file-name (plist-get report :maildir)))
      (current-buffer))))

(defun smtps-sandbox-stop ()
  "Stop the sandbox."
  (interactive)
  (when (process-live-p smtps--sandbox)
    ;; Not `delete-process', which would not let it clean up.
    (signal-process smtps--sandbox 'SIGTERM))
  (setq smtps--sandbox nil))

;;; The rest, loaded when it is called

;; An installed package has these from its cookies; a checkout on the load
;; path has them from here.
(autoload 'smtps-accounts-file-read "smtps-accounts-file")
(autoload 'smtps-send-it "smtps-send")
(autoload 'smtps-mu4e-prepare "smtps-mu4e")
(autoload 'smtps-mu4e-resume "smtps-mu4e")
(autoload 'smtps-notmuch-prepare "smtps-notmuch")
(autoload 'smtps-send-buffer "smtps-send" nil t)
(autoload 'smtps-send-queued "smtps-send" nil t)
(autoload 'smtps-send-divert "smtps-send")
(autoload 'smtps-send-check-recipients "smtps-send")
(autoload 'smtps-send-follow-up "smtps-send")
(autoload 'smtps-answer "smtps-send" nil t)
(autoload 'smtps-send-waiting "smtps-send")
(autoload 'smtps-outbox-wait "smtps-send")
(autoload 'smtps-outbox "smtps-outbox-ui" nil t)
(autoload 'smtps-untold-tell "smtps-untold")
(autoload 'smtps-undo-send "smtps-undo" nil t)
(autoload 'smtps-undo-keep "smtps-undo")
(autoload 'smtps-warm-compose "smtps-warm")
(autoload 'smtps-route-show "smtps-route")
(autoload 'smtps-undo-let-go "smtps-undo")
(autoload 'smtps-mode-line-show "smtps-mode-line")
(autoload 'smtps-attend "smtps-mode-line" nil t)
(autoload 'smtps-session "smtps-session" nil t)
(autoload 'smtps-session-replay "smtps-session-replay" nil t)
(autoload 'smtps-session-report "smtps-session-report" nil t)
(autoload 'smtps-install-helper "smtps-helper" nil t)
(autoload 'smtps-check "smtps-check" nil t)
(autoload 'smtps-doctor "smtps-doctor" nil t)
(autoload 'smtps-explain "smtps-explain" nil t)
(autoload 'smtps-explain-reply "smtps-explain")
(autoload 'smtps-explain-keyword "smtps-explain")
(autoload 'smtps-explain-verb "smtps-explain")
(autoload 'smtps-explain-session-line "smtps-explain")
(autoload 'smtps-explain-eldoc "smtps-explain")
(autoload 'smtps-explain-help-echo "smtps-explain")
(autoload 'smtps-base64-encode-region "smtps-base64" nil t)
(autoload 'smtps-base64-decode-region "smtps-base64" nil t)
(autoload 'smtps-base64-decode-at-point "smtps-base64" nil t)
(autoload 'smtps-base64-auth-plain "smtps-base64" nil t)
(autoload 'smtps-base64-encode-string "smtps-base64")
(autoload 'smtps-base64-decode-string "smtps-base64")
(autoload 'eshell/smtps "smtps-eshell")
(autoload 'pcomplete/smtps "smtps-eshell")
(autoload 'smtps-eshell-setup "smtps-eshell")
(add-hook 'eshell-mode-hook #'smtps-eshell-setup)

(easy-menu-define smtps-menu nil
  "Menu of smtps, for the keymap of any mode."
  '("SMTP"
    ["Send by smtps" smtps-send-buffer
     :help "Send the mail in this buffer by smtps"]
    ["Outbox" smtps-outbox
     :help "Show what waits, what failed and what was sent"]
    ["Take back" smtps-undo-send
     :help "Take back the mail that was sent last, if it waits still"]
    ["Send what waits" smtps-send-queued
     :help "Send the mail that waits in the outbox"]
    ["Answer" smtps-answer
     :help "Give what mail in the outbox waits for: passwords, trust"]
    "--"
    ["Type a dialogue..." smtps-session
     :help "Type SMTP by hand to a server"]
    ["Try it out" smtps-sandbox
     :help "Type SMTP to a server of your own, which delivers to nobody"]
    "--"
    ["Send all mail by smtps" smtps-mode
     :style toggle :selected smtps-mode]
    ["Check a server..." smtps-check
     :help "Connect and log in, tell what works, and send nothing"]
    ["Explain a reply..." smtps-explain
     :help "Tell what a server's reply means, and who can mend it"]
    ["What is wrong?" smtps-doctor
     :help "Look over the set-up, and tell what to do for each fault"]
    ["Install the helper" smtps-install-helper
     :help "Install what the helper needs"]
    ["Options" (customize-group 'smtps)]))

(provide 'smtps)
;;; smtps.el ends here
