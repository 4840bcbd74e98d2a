;;; smtps-eshell.el --- The smtps command in Eshell  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Eshell can't feed its input to Lisp, nor can Lisp set its exit status: so
;; whatever reads, waits or fails is replaced by the real command, and only
;; base64 of a text that is given is Lisp.
;;
;; The real command is to use what Emacs has, and gets it in front of the
;; words that were typed, which win: the outbox, and a file with the accounts
;; in a directory that only the user can enter.  A password is in none of
;; these.  The command asks for it by a password command that we give it, on
;; a socket in that directory, and Emacs answers from auth-source or asks.
;; Its terminal would not do: in a pipeline Emacs can't write to that.

;;; Code:

(require 'cl-lib)
(require 'pcomplete)
(require 'smtps)
(require 'smtps-base64)
(require 'smtps-option)

(declare-function eshell-parse-command "esh-cmd" (command &optional args toplevel))
(declare-function eshell-quote-argument "esh-arg" (string))
(declare-function eshell-watch-for-password-prompt "esh-mode" ())
(declare-function smtps-credentials-accepted "smtps-credentials" (account))
(declare-function smtps-credentials-at-hand "smtps-credentials" (account))
(declare-function smtps-credentials-fetch "smtps-credentials")
(declare-function smtps-credentials-forget "smtps-credentials" (account))
(declare-function smtps-credentials-read "smtps-credentials" (prompt))
(declare-function smtps-credentials-login "smtps-credentials" (account &optional from))
(declare-function smtps-credentials-tell-password "smtps-credentials" (account function))
(declare-function smtps-helper--python "smtps-helper" ())
(declare-function smtps-helper-program "smtps-helper" ())
(declare-function smtps-outbox-entries "smtps-outbox" (&optional states))
(declare-function smtps-send-write-copy "smtps-send" (source file &optional bcc))
(declare-function smtps-host-account "smtps-host" (host port tls))
(declare-function smtps-host-split "smtps-host" (text))
(defvar eshell-complex-commands)
(defvar eshell-last-output-end)
(defvar eshell-output-filter-functions)

(defconst smtps-eshell--verbs
  '("session" "send" "check" "base64" "outbox" "sandbox" "generate" "rpc")
  "The verbs of the command line; any other first word is a host or an option.")

(cl-defstruct (smtps-eshell--run (:constructor smtps-eshell--make-run)
                                 (:copier nil))
  "One run of the real command."
  (words nil :documentation "What it is given, a list of strings.")
  (process nil :documentation "Its process, nil before it has begun.")
  (accounts nil :documentation "The accounts that it can choose from, whole.")
  (queues nil :documentation "Non-nil if it leaves a mail to who sends it later.")
  (directory nil :documentation "A directory of its own, or nil.")
  (server nil :documentation "The process that listens on its socket, or nil.")
  (asked nil :documentation "The accounts whose password it was given."))

(defvar-local smtps-eshell--runs nil
  "The runs that have begun in this buffer and not ended.")

;;;; Eshell's side

;;;###autoload
(defun smtps-eshell-setup ()
  "Let the command `smtps' of this Eshell buffer replace itself by a program.
A command that is a Lisp function may do so only if it is listed as complex.
While the program runs, we see to the prompts for passwords."
  (unless (member "smtps" eshell-complex-commands)
    (setq-local eshell-complex-commands (cons "smtps" eshell-complex-commands))
    (setq-local eshell-output-filter-functions
                (cl-substitute #'smtps-eshell-watch #'eshell-watch-for-password-prompt
                               eshell-output-filter-functions))
    (add-hook 'eshell-exec-hook #'smtps-eshell--begun nil t)
    (add-hook 'eshell-kill-hook #'smtps-eshell--ended nil t)
    (add-hook 'kill-buffer-hook #'smtps-eshell--end-all nil t)))

;;;###autoload
(add-hook 'eshell-mode-hook #'smtps-eshell-setup)

(defun smtps-eshell--begun (process)
  "Note that PROCESS has begun, if it is one of ours."
  (let ((run (and (processp process)
                  (cl-find-if (lambda (run)
                                (let ((words (smtps-eshell--run-words run)))
                                  (and (not (smtps-eshell--run-process run))
                                       (equal (last (process-command process) (length words))
                                              words))))
                              smtps-eshell--runs))))
    (when run
      (setf (smtps-eshell--run-process run) process))))

(defun smtps-eshell--ended (process &rest _)
  "Clean up behind PROCESS, if it is one of ours.
A password that it was given is forgotten if the login was refused."
  (let ((run (cl-find process smtps-eshell--runs :key #'smtps-eshell--run-process)))
    (when (and run process)
      (dolist (account (smtps-eshell--run-asked run))
        (pcase (process-exit-status process)
          (0 (smtps-credentials-accepted account))
          (77 (smtps-credentials-forget account))))
      (smtps-eshell--end run))))

(defun smtps-eshell--end (run)
  "Remove what RUN needed."
  (setq smtps-eshell--runs (delq run smtps-eshell--runs))
  (when (smtps-eshell--run-server run)
    (delete-process (smtps-eshell--run-server run)))
  (smtps-eshell--forget-files run))

(defun smtps-eshell--forget-files (run)
  "Delete the directory of RUN, if it has one."
  (when (smtps-eshell--run-directory run)
    (delete-directory (smtps-eshell--run-directory run) t)
    (setf (smtps-eshell--run-directory run) nil)))

(defun smtps-eshell--sweep ()
  "Delete the directories that Emacsen of ours left which are no more.
One that lost its terminal may be gone before its hooks have run."
  (dolist (directory (directory-files temporary-file-directory t
                                      "\\`smtps-[0-9]+-[^/]+\\'" t))
    (when (and (eql (file-attribute-user-id (file-attributes directory)) (user-uid))
               (eql (signal-process
                     (string-to-number
                      (nth 1 (split-string (file-name-nondirectory directory) "-")))
                     0)
                    -1))
      (ignore-errors (delete-directory directory t)))))

(defun smtps-eshell--end-all ()
  "Remove what is left of the commands in this buffer."
  (mapc #'smtps-eshell--end smtps-eshell--runs))

(defun smtps-eshell--end-everywhere ()
  "Delete what the commands in all buffers have on the disk, when Emacs ends.
Their processes end with it; to delete one may display something, and
an Emacs that has lost its terminal is gone then."
  (dolist (buffer (buffer-list))
    (mapc #'smtps-eshell--forget-files
          (buffer-local-value 'smtps-eshell--runs buffer))))

;;;; Prompts

(defconst smtps-eshell--prompt-regexp "\\(?:Password\\|Passphrase\\) [^\n]*: \\'"
  "Matches a prompt of the command at the beginning of its line.
What a server says is in whole lines, and never at their beginning.")

(defun smtps-eshell-watch ()
  "See whether the output that has come ends in a prompt for a password.
That of our command is read in the minibuffer and sent; a server's that
looks like one is not.  For other programs Eshell sees to it."
  (let ((run (cl-find-if (lambda (run)
                           (and (smtps-eshell--run-process run)
                                (process-live-p (smtps-eshell--run-process run))))
                         smtps-eshell--runs)))
    (if (null run)
        (eshell-watch-for-password-prompt)
      (save-excursion
        (goto-char eshell-last-output-end)
        (let ((inhibit-field-text-motion t))
          (beginning-of-line))
        (let ((line (buffer-substring-no-properties (point) eshell-last-output-end))
              (case-fold-search nil))
          (when (eq (string-match-p smtps-eshell--prompt-regexp line) 0)
            ;; Nothing is asked from a filter.
            (run-at-time 0 nil #'smtps-eshell--ask line
                         (smtps-eshell--run-process run))))))))

(defun smtps-eshell--ask (prompt process)
  "Read a password with PROMPT and send it to PROCESS."
  (when (process-live-p process)
    (require 'smtps-credentials)
    (let ((password (smtps-credentials-read prompt)))
      (unwind-protect
          (when (process-live-p process)
            (process-send-string process (concat password "\n")))
        (clear-string password)))))

;;;; Passwords

(defconst smtps-eshell--asker
  (concat "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
          "s.sendall(''.join(os.environ['SMTPS_' + n] + '\\n' for n in "
          "('HOST', 'PORT', 'USER')).encode()); "
          "a = b''.join(iter(lambda: s.recv(4096), b'')); "
          "sys.stdout.buffer.write(a); sys.exit(not a)")
  "A program in Python, one line, that asks Emacs for a password.
The environment tells for which, and the argument is the socket.  It prints
the answer, and fails without one.")

(defun smtps-eshell--password-command (run)
  "Return the shell command by which RUN asks Emacs for a password.
Listen to it."
  (let ((socket (smtps-eshell--file run "socket")))
    (unless (smtps-eshell--run-server run)
      (require 'smtps-credentials)
      (setf (smtps-eshell--run-server run)
            (make-network-process
             :name "smtps-password" :server t :family 'local :service socket
             :noquery t :coding 'utf-8-unix
             :filter (lambda (connection text)
                       (smtps-eshell--asked run connection text))
             :sentinel #'ignore)))
    (mapconcat #'shell-quote-argument
               (list (smtps-helper--python) "-I" "-c" smtps-eshell--asker socket)
               " ")))

(defun smtps-eshell--asked (run connection text)
  "Take TEXT of RUN's question on CONNECTION; answer when all of it is there."
  (let ((question (concat (process-get connection 'question) text)))
    (process-put connection 'question question)
    (when (string-match "\\`\\(.*\\)\n\\([0-9]+\\)\n\\(.*\\)\n\\'" question)
      ;; Nothing is asked from a filter.
      (run-at-time 0 nil #'smtps-eshell--answer run connection
                   (smtps-eshell--account run (match-string 1 question)
                                          (string-to-number (match-string 2 question))
                                          (match-string 3 question))))))

(defun smtps-eshell--account (run host port user)
  "Return the account of RUN at HOST and PORT, for USER, or one that is no more."
  (let ((account (cl-find-if (lambda (account)
                               (and (equal (plist-get account :host) host)
                                    (equal (plist-get account :port) port)
                                    (member (plist-get account :user) (list nil user))))
                             (smtps-eshell--run-accounts run))))
    (plist-put (or (copy-sequence account) (list :host host :port port)) :user user)))

(defun smtps-eshell--answer (run connection account)
  "Tell RUN the password of ACCOUNT on CONNECTION, or close that without."
  (unwind-protect
      (condition-case problem
          (when (and (smtps-credentials-fetch account :ask t)
                     (process-live-p connection))
            (smtps-credentials-tell-password
             account (lambda (password) (process-send-string connection password)))
            (push account (smtps-eshell--run-asked run)))
        (quit nil)
        (smtps-error (message "%s" (cadr problem))))
    (delete-process connection)))

;;;; Accounts

(defun smtps-eshell--toml (value)
  "Return VALUE, a string, integer, t, symbol or list of strings, as TOML has it."
  (cond ((stringp value)
         (format "\"%s\"" (replace-regexp-in-string "[\"\\]" "\\\\\\&" value)))
        ((integerp value) (number-to-string value))
        ((eq value t) "true")
        ((symbolp value) (smtps-eshell--toml (symbol-name value)))
        (t (format "[%s]" (mapconcat #'smtps-eshell--toml value ", ")))))

(defun smtps-eshell--login (account chosen)
  "Return who logs in to ACCOUNT, as far as that is known.
If it is the one that was CHOSEN, that is looked for in all that auth-source
looks in, as when a mail is sent, else only where that asks nothing."
  (or (plist-get account :user)
      (progn
        (require 'smtps-credentials)
        (if chosen
            (smtps-credentials-fetch account)
          (smtps-credentials-at-hand account))
        (smtps-credentials-login account))))

(defun smtps-eshell--table (run account chosen)
  "Return ACCOUNT as a table of the accounts file for RUN.
Its password is asked of Emacs, but for a mail that is sent when nobody
listens any more.  CHOSEN is as in `smtps-eshell--login'."
  (let* ((login (smtps-eshell--login account chosen))
         (certificate (delq nil (list (plist-get account :client-certificate)
                                      (plist-get account :client-key)))))
    (concat
     (format "[%s]\n" (smtps-eshell--toml (or (plist-get account :name) "smtpmail")))
     (cl-loop for (key value)
              in `((host ,(plist-get account :host))
                   (port ,(plist-get account :port))
                   (tls ,(plist-get account :tls))
                   (user ,login)
                   (from ,(plist-get account :from))
                   (mechanisms ,(plist-get account :mechanisms))
                   (ca-file ,(plist-get account :ca-file))
                   (client-certificate ,certificate)
                   (password-command
                    ,(if (smtps-eshell--run-queues run)
                         (plist-get account :password-command)
                       (and (or login (plist-get account :password-command))
                            (smtps-eshell--password-command run))))
                   (send-in-clear ,(plist-get account :send-in-clear)))
              when value
              concat (format "%s = %s\n" key (smtps-eshell--toml value))))))

(defun smtps-eshell--known ()
  "Return the accounts of Emacs, whole.
Without any they are the one of the smtpmail variables, or none."
  (or (mapcar (lambda (entry) (smtps--check-account (car entry) (cdr entry)))
              (smtps-known-accounts))
      (ignore-error smtps-account-error
        (list (smtps--smtpmail-account)))))

(defun smtps-eshell--with-accounts (run accounts chosen)
  "Let RUN choose from ACCOUNTS; return the options for that.
CHOSEN is the one that logs in, if that is known."
  (when accounts
    (let ((file (smtps-eshell--file run "accounts.toml")))
      (setf (smtps-eshell--run-accounts run) accounts)
      (with-temp-file file
        (let ((coding-system-for-write 'utf-8-unix))
          (insert (mapconcat (lambda (account)
                               (smtps-eshell--table run account (eq account chosen)))
                             accounts "\n"))))
      (list "--accounts" file))))

(defun smtps-eshell--file (run name)
  "Return the name of a file NAME in the directory of RUN, which only we can enter."
  (unless (smtps-eshell--run-directory run)
    (smtps-eshell--sweep)
    (setf (smtps-eshell--run-directory run)
          (make-temp-file (format "smtps-%d-" (emacs-pid)) t))
    (add-hook 'kill-emacs-hook #'smtps-eshell--end-everywhere))
  (expand-file-name name (smtps-eshell--run-directory run)))

;;;; The words

(defun smtps-eshell--has (words &rest options)
  "Return non-nil if one of OPTIONS is among WORDS."
  (cl-some (lambda (option)
             (cl-some (lambda (word)
                        (or (equal word option) (string-prefix-p (concat option "=") word)))
                      words))
           options))

(defun smtps-eshell--given (words option)
  "Return the value of OPTION among WORDS, or nil."
  (cl-loop for (word next) on words
           when (equal word option) return next
           when (string-prefix-p (concat option "=") word)
           return (substring word (1+ (length option)))))

(defun smtps-eshell--named (name accounts)
  "Return the one of ACCOUNTS that is called NAME.
Signal `smtps-account-error' if there is none."
  (or (cl-find name accounts :test #'equal
               :key (lambda (account)
                       (or (plist-get account :name) "smtpmail")))
      (signal 'smtps-account-error
              (list (format "There is no account called \"%s\"; there is: %s." name
                            (if accounts
                                (mapconcat (lambda (account)
                                             (or (plist-get account :name) "smtpmail"))
                                           accounts ", ")
                              "none"))))))

(defun smtps-eshell--account-at (place)
  "Return the account of PLACE, a HOST or HOST:PORT, or nil."
  (require 'smtps-host)
  (pcase-let ((`(,host . ,port) (smtps-host-split place)))
    (smtps-host-account host port nil)))

(defun smtps-eshell--choice (run verb words envelope)
  "Return options that let VERB, with WORDS, choose from Emacs's accounts in RUN.
ENVELOPE is that of the mail if it is in a buffer.  A server that is named
has the account that it has in `smtps-session'."
  (let* ((place (and (not (equal verb "send")) words
                     (not (string-prefix-p "-" (car words)))
                     (car words)))
         ;; In a dialogue only who is named logs in.
         (logs-in (not (equal verb "session")))
         (with (lambda (accounts one)
                 (smtps-eshell--with-accounts run accounts (and logs-in one)))))
    (cond ((smtps-eshell--has words "--accounts") nil)
          ((smtps-eshell--given words "--account")
           (let ((accounts (smtps-eshell--known)))
             (funcall with accounts
                      (smtps-eshell--named (smtps-eshell--given words "--account")
                                           accounts))))
          ((smtps-eshell--has words "--host") nil)
          (envelope
           (let ((account (plist-get envelope :account)))
             (funcall with (list account) account)))
          (place
           (let ((account (smtps-eshell--account-at place)))
             (and account
                  (append (funcall with (list account) account)
                          (list "--account" (plist-get account :name))))))
          (t
           (let ((accounts (smtps-eshell--known)))
             (funcall with accounts (and (null (cdr accounts)) (car accounts))))))))

(defun smtps-eshell--mail (run buffer)
  "Write the mail in BUFFER into a file for RUN; return (FILE . ENVELOPE)."
  (unless (buffer-live-p buffer)
    (user-error "That buffer is not there any more; nothing was sent"))
  ;; Eshell makes one for a name that is misspelt.
  (when (zerop (buffer-size buffer))
    (user-error "The buffer %s is empty; nothing was sent" (buffer-name buffer)))
  (require 'smtps-send)
  (let ((file (smtps-eshell--file run "message")))
    (cons file (with-file-modes #o600
                 (smtps-send-write-copy buffer file t)))))

(defun smtps-eshell--words (run words)
  "Return what the real command is given in RUN for WORDS, strings or a buffer.
What Emacs has stands in front of what was typed, which wins."
  (let* ((said (and (member (car words) smtps-eshell--verbs) (pop words)))
         (verb (or said "session"))
         (connects (member verb '("session" "send" "check")))
         (buffer (cl-find-if #'bufferp words))
         (words (cl-remove-if #'bufferp words))
         (host (and (not said) words (not (string-prefix-p "-" (car words)))
                    (car words)))
         (flushes (and (equal verb "outbox") (member "flush" words)))
         (mail (and buffer
                    (if (equal verb "send") (smtps-eshell--mail run buffer)
                      (user-error "A buffer can only be sent: smtps send #<buffer NAME>")))))
    (setf (smtps-eshell--run-queues run) (smtps-eshell--has words "--queue"))
    (append
     ;; A host that is no verb stays first: it may be a verb written wrongly.
     (list (or said host verb))
     (and (member verb '("send" "outbox"))
          (list "--outbox" (expand-file-name
                              (smtps-option 'smtps-outbox-directory))))
     (and connects (smtps-eshell--choice run verb words (cdr mail)))
     ;; Who is named here logs in without an account, too; the mails have theirs.
     (and (or (and connects (smtps-eshell--has words "--user" "--auth")
                   (not (smtps-eshell--run-queues run)))
              flushes)
          (list "--password-command" (smtps-eshell--password-command run)))
     (and mail (list "-f" (plist-get (cdr mail) :from)))
     (cond (mail (remove "-t" words))
           (host (cdr words))
           (t words))
     (and mail (list "-t" (car mail))))))

(defconst smtps-eshell--failer "printf 'smtps: %s\\n' \"$2\" >&2; exit \"$1\""
  "A shell's command: it writes its second argument, and its first is its status.")

(defun smtps-eshell--fail (problem)
  "Have Eshell run in place of ours what fails with PROBLEM, an error, as its text.
After Lisp `$?' is 0, and && goes on.  It needs nothing that may be missing,
and runs on this machine."
  (let ((text (cadr problem))
        (status (pcase (car problem)
                  ('user-error "64")
                  ((or 'smtps-account-error
                       (guard (memq 'smtps-rpc-error
                                    (get (car problem) 'error-conditions))))
                   "78")
                  (_ "65"))))
    (condition-case nil
        (throw 'eshell-replace-command
               `(let ((default-directory ,temporary-file-directory))
                  ,(eshell-parse-command
                    "*/bin/sh" (list "-c" smtps-eshell--failer "smtps" status text))))
      (no-catch (user-error "%s" text)))))

(defun smtps-eshell--replace (words)
  "Have Eshell run the real command with WORDS in place of ours."
  (when (file-remote-p default-directory)
    (smtps-eshell--fail
     '(user-error
       "The smtps command runs on this machine only; cd to a directory of it")))
  (require 'smtps-helper)
  (let ((program (smtps-helper-program))
        (run (smtps-eshell--make-run))
        (ready nil))
    (unwind-protect
        (condition-case problem
            (setf (smtps-eshell--run-words run)
                  (if (or (null words) (member (car words) '("-h" "--help" "help" "--version")))
                      words
                    (smtps-eshell--words run words))
                  ready t)
          ((smtps-error user-error) (smtps-eshell--fail problem)))
      (unless ready
        (smtps-eshell--end run)))
    (push run smtps-eshell--runs)
    (condition-case nil
        (throw 'eshell-replace-command
               (eshell-parse-command
                ;; The star keeps an alias or a function of that name out.
                (concat "*" (eshell-quote-argument (car program)))
                (append (cdr program) (smtps-eshell--run-words run))))
      ;; Not evaluated by Eshell's own evaluator, which takes our place.
      (no-catch
       (smtps-eshell--end run)
       (smtps-eshell-setup)
       (user-error "This Eshell is older than its smtps command; now it knows it, so try again")))))

;;;###autoload
(defun eshell/smtps (&rest args)
  "Run the command `smtps' with ARGS: a host or a verb, and its words.
The verbs are session, send, check, base64, outbox, sandbox and generate;
--help tells of them.  send takes a buffer, too, and sends the mail in it."
  (let ((words (mapcar (lambda (word) (if (bufferp word) word (format "%s" word)))
                       (flatten-tree args))))
    (condition-case problem
        (pcase words
          (`("base64" ,(or "-d" "--decode")
             ,(and (pred stringp) text (guard (not (string-prefix-p "-" text)))))
           (smtps-base64-decode-string text))
          (`("base64" ,(and (pred stringp) text (guard (not (string-prefix-p "-" text)))))
           (smtps-base64-encode-string text))
          (_ (smtps-eshell--replace words)))
      (smtps-error (smtps-eshell--fail problem)))))

;; The text 007 is not the number 7.
(put 'eshell/smtps 'eshell-no-numeric-conversions t)

;;;; Completion

(defvar smtps-eshell--help nil
  "The options of each verb as its help tells them: an alist of verb and list.")

(defun smtps-eshell--options (verb)
  "Return the options of VERB, as the real command's own help has them."
  (unless (or (assoc verb smtps-eshell--help)
              (file-remote-p default-directory))
    (require 'smtps-helper)
    (with-temp-buffer
      (let ((program (smtps-helper-program)))
        (when (eql 0 (apply #'call-process (car program) nil '(t nil) nil
                            (append (cdr program) (list verb "--help"))))
          (let ((found nil))
            (goto-char (point-min))
            (while (re-search-forward "\\(?:^\\|[ (]\\)\\(--?[A-Za-z][a-z0-9-]*\\)\\_>" nil t)
              (push (match-string 1) found))
            (push (cons verb (sort (delete-dups found) #'string<))
                  smtps-eshell--help))))))
  (cdr (assoc verb smtps-eshell--help)))

(defun smtps-eshell--of-accounts (property)
  "Return what the accounts of Emacs have as PROPERTY, each once."
  (delete-dups
   (cl-loop for (name . account) in (ignore-error smtps-account-error (smtps-known-accounts))
            append (cl-remove-if-not
                    #'stringp
                    (if (eq property :name) (list name)
                      (ensure-list (plist-get account property)))))))

(defun smtps-eshell--values (option)
  "Return what can stand behind OPTION: a completion table, or t if that is free."
  (pcase option
    ("--account" (smtps-eshell--of-accounts :name))
    ("--host" (smtps-eshell--of-accounts :host))
    ("--user" (smtps-eshell--of-accounts :user))
    ((or "-f" "-r") (cl-remove-if (lambda (from) (string-prefix-p "@" from))
                                  (smtps-eshell--of-accounts :from)))
    ("--tls" (mapcar (lambda (way) (symbol-name (car way))) smtps--ports))
    ("--report" '("json" "sexp"))
    ((or "--accounts" "--ca-file" "--client-certificate" "--client-key" "--directory"
         "--outbox" "--transcript")
     (pcomplete-entries))
    ((or "--port" "--timeout" "--auth" "--password-command") t)))

(defun smtps-eshell--arguments (verb)
  "Return what can stand where no option is meant, behind VERB."
  (pcase verb
    ((or "session" "check") (smtps-eshell--of-accounts :host))
    ("send" (pcomplete-entries))
    ("outbox"
     (if (equal (pcomplete-arg 1) "outbox")
         '("list" "show" "retry" "drop" "file" "flush")
       (require 'smtps-outbox)
       (mapcar (lambda (entry) (plist-get entry :id)) (smtps-outbox-entries))))))

;;;###autoload
(defun pcomplete/smtps ()
  "Complete the words of the command `smtps'."
  (pcomplete-here* (append smtps-eshell--verbs (smtps-eshell--of-accounts :host)))
  (let ((verb (car (member (pcomplete-arg 'first 1) smtps-eshell--verbs))))
    (while (pcomplete-here*
            (let ((values (smtps-eshell--values (pcomplete-arg 1))))
              (cond ((eq values t) nil)
                    (values)
                    ((string-prefix-p "-" pcomplete-stub)
                     (smtps-eshell--options (or verb "session")))
                    (t (smtps-eshell--arguments verb))))))))

(provide 'smtps-eshell)
;;; smtps-eshell.el ends here
