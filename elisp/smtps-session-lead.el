;;; smtps-session-lead.el --- Let smtps do a part of a session  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; In a session a person types; these commands have smtps do a part of it, on
;; the same connection: greet, start TLS, log in, send a message.  It says
;; one command after the other, which appear above the prompt like those that
;; are typed, their secrets masked.  What was typed before goes first, and
;; what is typed meanwhile waits.
;;
;; A password is there before the first line of a login leaves: a server does
;; not wait long for one.

;;; Code:

(require 'smtps-session)
(require 'smtps-send)


(defun smtps-session-lead--assert-ready ()
  "Signal an error unless smtps could now take over the session."
  (unless (derived-mode-p 'smtps-session-mode)
    (user-error "This is not a session buffer"))
  (smtps-session--assert-open)
  (when (smtps-session--due)
    (user-error "The server waits for the %s: a line with only a * cancels the login"
                (smtps-session--due))))

(defun smtps-session-lead--assert-no-data ()
  "Signal an error if what is sent now would be part of a message."
  (when smtps-session--data
    (user-error "DATA is open: a line with only a dot ends the message")))

(defun smtps-session-lead--assert-free ()
  "Signal an error unless smtps could now say a command."
  (smtps-session-lead--assert-ready)
  (smtps-session-lead--assert-no-data)
  (smtps-session-lead--assert-begun))

(cl-defun smtps-session-lead--call (method args &key then finally)
  "Call METHOD of the helper for this session with ARGS.
THEN is called in this buffer with what it returns, FINALLY in any case."
  (let ((buffer (current-buffer)))
    (smtps-helper-call
     method (append (list :session smtps-session--number) args)
     ;; The server may take its time.
     :timeout 'none
     :then (lambda (value)
             (unwind-protect
                 (when (and then (buffer-live-p buffer))
                   (with-current-buffer buffer (funcall then value)))
               (when finally (funcall finally))))
     :else (lambda (err)
             (unwind-protect
                 (when (and (buffer-live-p buffer)
                            (buffer-local-value 'smtps-session--number buffer))
                   (with-current-buffer buffer
                     (smtps-session-lead--failed err)))
               (when finally (funcall finally)))))))

(defun smtps-session-lead--failed (err)
  "Tell of ERR, the error of a part that smtps was to do."
  (if (not (eq (car err) 'smtps-helper-dead))
      (smtps-session--insert (concat "! " (smtps-session--sentence err))
                             'smtps-session-refusal)
    (smtps-session--insert
     "! What smtps was doing here may have been done, as far as it went or further"
     'smtps-session-refusal)
    (smtps-session--closed (smtps-session--sentence err) t)))

(defun smtps-session-lead--assert-begun ()
  "Signal an error until the helper knows this session."
  (unless smtps-session--number
    (user-error "The session is only being opened; wait for the greeting")))

(defun smtps-session-lead--when-answered (function)
  "Call FUNCTION in this buffer when all that was typed is answered."
  (letrec ((look (lambda ()
                   (when (and (null smtps-session--pending)
                              (zerop smtps-session--owed))
                     (remove-hook 'smtps-session-stands-hook look t)
                     (funcall function)))))
    (add-hook 'smtps-session-stands-hook look nil t)
    (funcall look)))

;;;; Greeting, TLS

;;;###autoload
(defun smtps-session-greet ()
  "Have smtps greet the server: EHLO, or HELO where it knows no other."
  (interactive)
  (smtps-session-lead--assert-free)
  (smtps-session-lead--call 'session-greet nil))

;;;###autoload
(defun smtps-session-start-tls ()
  "Have smtps greet the server, start TLS, and greet it again under TLS."
  (interactive)
  (smtps-session-lead--assert-free)
  (when smtps-session-tls
    (user-error "The session is under TLS already (%s)" smtps-session-tls))
  (smtps-session-lead--call 'session-greet '(:starttls t)))

;;;; Login

(defconst smtps-session-lead--without-secret '("EXTERNAL" "ANONYMOUS")
  "Mechanisms that prove nothing by a password (RFC 4422 appendix A, RFC 4505).")

(defun smtps-session-lead--account ()
  "Return the account to log in with here: a whole one, or one for this host."
  (let ((host (plist-get smtps-session--arguments :host))
        (port (plist-get smtps-session--arguments :port)))
    (or (smtps-host-account host port nil)
        (list :host host :port port))))

(defun smtps-session-lead--read-user (account)
  "Return the name to log in with to ACCOUNT: its own, auth-source's, or ask."
  (or (plist-get account :user)
      (smtps-credentials-login account)
      ;; A password command knows no name.
      (and (not (plist-get account :password-command))
           (smtps-credentials-fetch account :from user-mail-address)
           (smtps-credentials-login account user-mail-address))
      (smtps-session-read-name (plist-get account :host) (plist-get account :port))))

(defun smtps-session-lead--assert-may-log-in ()
  "Signal an error unless smtps could now log in."
  (smtps-session-lead--assert-free)
  (when smtps-session-mechanism
    (user-error "Somebody is logged in already (%s)" smtps-session-mechanism))
  (when (and smtps-session-offers (null (smtps-session-mechanisms)))
    (user-error "The server offers no login (AUTH)%s"
                (if (and (null smtps-session-tls)
                         (member "STARTTLS" smtps-session-offers))
                    (substitute-command-keys
                     "; it may under TLS, which \\<smtps-session-mode-map>\
\\[smtps-session-start-tls] starts")
                  ""))))

;;;###autoload
(defun smtps-session-log-in (&optional mechanism)
  "Have smtps log in, by MECHANISM or by what it takes for the best.
With a prefix argument, choose the mechanism.  User and password are there
before the first line leaves: from auth-source, or asked for."
  (interactive
   (progn
     (smtps-session-lead--assert-may-log-in)
     (list (and current-prefix-arg
                (completing-read "Log in by: "
                                 (or (smtps-session-mechanisms)
                                     (user-error "The server has not said yet \
what it offers: greet it first"))
                                 nil t)))))
  (smtps-session-lead--assert-may-log-in)
  (let* ((account (smtps-session-lead--account))
         (secret (not (member mechanism smtps-session-lead--without-secret)))
         (user (unless (equal mechanism "ANONYMOUS")
                 (if secret (smtps-session-lead--read-user account)
                   (plist-get account :user)))))
    (setq account (plist-put (copy-sequence account) :user user))
    (when secret
      (smtps-session-lead--fetch-password account))
    ;; A person may have been asked for long.
    (smtps-session-lead--assert-ready)
    (smtps-session-lead--log-in account user mechanism)))

(defun smtps-session-lead--fetch-password (account)
  "See that the password of ACCOUNT, who has a user, is in memory; ask for it.
Signal an error if it is not."
  (smtps-session-note-name (plist-get account :host) (plist-get account :port)
                           (plist-get account :user))
  (unless (smtps-base64-door t (smtps-credentials-fetch account :ask t))
    (user-error "No password, no login; nothing was sent")))

(cl-defun smtps-session-lead--log-in (account user mechanism &key then finally)
  "Have smtps log USER in by MECHANISM, or by what it takes for the best.
ACCOUNT, with USER in it, is whose password is in memory.  THEN and FINALLY are
as in `smtps-session-lead--call'."
  (smtps-session-lead--call
   'session-log-in
   (append (and user (list :user user))
           (list :mechanisms
                 (if mechanism (list (intern (downcase mechanism)))
                   (mapcar (lambda (name) (intern (downcase name)))
                           (plist-get account :mechanisms)))))
   :then (lambda (value)
           (cond ((plist-get value :done)
                  (setq smtps-session-user user
                        smtps-session-refused-account nil)
                  (smtps-credentials-accepted account))
                 ;; Refused: not taken for granted the next time.
                 ((memql (plist-get value :code) '(530 535))
                  (setq smtps-session-refused-account account)
                  (smtps-credentials-forget account)))
           (when then (funcall then value)))
   :finally finally))

;;;; Messages

(defvar-local smtps-session-lead-message nil
  "The message that this session was opened for, or nil.
A list of its file and its envelope, a plist of `:from' and `:recipients'.")

(defun smtps-session-lead--sources ()
  "Return the names of the buffers that a mail may be in, the newest first."
  (mapcar #'buffer-name
          (seq-filter (lambda (buffer)
                        (with-current-buffer buffer
                          (derived-mode-p 'message-mode 'mail-mode)))
                      (buffer-list))))

(defun smtps-session-lead--read-source (prompt)
  "Read with PROMPT where the message is, and return that: a buffer.
With a prefix argument, return the name of a file.  Where the session was
opened for a message, that is meant without asking."
  (cond
   ((and smtps-session-lead-message (not current-prefix-arg))
    (unless (file-exists-p (car smtps-session-lead-message))
      (user-error "This mail has left its place in the outbox meanwhile; look there"))
    (car smtps-session-lead-message))
   (current-prefix-arg
    (let ((file (expand-file-name (read-file-name prompt nil nil t))))
      (when (file-directory-p file)
        (user-error "%s is a directory, not a message"
                    (abbreviate-file-name file)))
      file))
   (t
    ;; `read-buffer' itself tells in the prompt what is meant without an answer.
    (or (get-buffer (read-buffer prompt (car (smtps-session-lead--sources)) t))
        (user-error "No buffer was given; nothing was sent")))))

(defun smtps-session-lead--with-message (source function)
  "Call FUNCTION with the message in SOURCE: file, envelope, and what ends it.
SOURCE is a buffer or a file.  The envelope is nil for a file that is no
whole mail.  What ends it is a function that removes what was made."
  (if (and smtps-session-lead-message
           (equal source (car smtps-session-lead-message)))
      ;; It is as it was to be sent.
      (funcall function source (cdr smtps-session-lead-message) #'ignore)
    (smtps-session-lead--with-copy source function)))

(defun smtps-session-lead--with-copy (source function)
  "Write the message in SOURCE anew, and call FUNCTION with it.
The rest is as of `smtps-session-lead--with-message'."
  (let* ((file (make-temp-file "smtps-message"))
         (remove nil)
         (given nil)
         ;; It goes to this server, whatever others are known, or none.
         (accounts (list (cons "session"
                               (list :host (plist-get smtps-session--arguments :host)
                                     :port (plist-get smtps-session--arguments :port))))))
    (setq remove (lambda ()
                   (remove-hook 'kill-emacs-hook remove)
                   (ignore-errors (delete-file file))))
    ;; Nobody hears of the end of a session that Emacs does not outlive.
    (add-hook 'kill-emacs-hook remove)
    (unwind-protect
        (let ((envelope (condition-case problem
                            (let ((smtps-accounts accounts))
                              (if (bufferp source)
                                  (smtps-send-write-copy source file)
                                (smtps-session-lead--copy source file)))
                          (smtps-error (user-error "%s" (cadr problem)))
                          (file-error (user-error "%s" (error-message-string
                                                        problem))))))
          (funcall function file envelope remove)
          (setq given t))
      (unless given
        (funcall remove)))))

(defun smtps-session-lead--copy (source file)
  "Write the message in the file SOURCE into FILE; return its envelope.
One that is no whole mail is copied as it is, and has none."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert-file-contents-literally source)
    (condition-case nil
        (smtps-send-write-copy (current-buffer) file)
      (smtps-error
       (let ((coding-system-for-write 'binary))
         (write-region nil nil file nil 'silent))
       nil))))

(defun smtps-session-lead--assert-envelope ()
  "Signal an error unless a message could be sent behind what was typed."
  (smtps-session-lead--assert-ready)
  (smtps-session-lead--assert-begun)
  (unless (or smtps-session--data (eq smtps-session-state 'rcpt))
    (user-error "The message comes behind MAIL and RCPT; %s sends all of it"
                (substitute-command-keys "\\[smtps-session-send-transaction]"))))

;;;###autoload
(defun smtps-session-send-message (source)
  "Have smtps send the message in SOURCE, a buffer, behind the envelope typed here.
With a prefix argument, a file.  DATA is said first where it was not; line
ends are made right, dots stuffed, and a line with only a dot ends it."
  (interactive (progn (smtps-session-lead--assert-envelope)
                      (list (smtps-session-lead--read-source "Send the message in: "))))
  (smtps-session-lead--assert-envelope)
  (smtps-session-lead--with-message
   source
   (lambda (file _envelope done)
     (smtps-session-lead--call 'session-message (list :file file)
                               :finally done))))

(defun smtps-session-lead--read-addresses (prompt addresses)
  "Read with PROMPT a list of addresses, ADDRESSES to begin with."
  (split-string (read-string prompt (string-join addresses ", ")) "[,[:space:]]+" t))

;;;###autoload
(defun smtps-session-send-transaction (source)
  "Have smtps send the mail in SOURCE, a buffer: envelope, DATA and all.
With a prefix argument, a file.  Sender and recipients are shown first, and
may be changed.  If a login was refused here, log in first; the password is
asked for again."
  (interactive (progn (smtps-session-lead--assert-free)
                      (list (smtps-session-lead--read-source "Send the mail in: "))))
  (smtps-session-lead--assert-free)
  (smtps-session-lead--with-message
   source
   (lambda (file envelope done)
     (let ((from (string-trim (read-string "MAIL FROM: "
                                           (or (plist-get envelope :from)
                                               user-mail-address))))
           (to (smtps-session-lead--read-addresses
                "RCPT TO: " (plist-get envelope :recipients))))
       (unless to
         (user-error "Nobody to send it to; nothing was sent"))
       (when smtps-session-refused-account
         (smtps-session-lead--fetch-password smtps-session-refused-account))
       (smtps-session-lead--assert-ready)
       (smtps-session-lead--logged-in
        (lambda ()
          (smtps-session-lead--call 'session-message
                                    (list :file file :from from :to to)
                                    :finally done))
        done)))))

(defun smtps-session-lead--logged-in (function otherwise)
  "Call FUNCTION; where a login was refused here, log in first.
Then the password is in memory.  Call OTHERWISE if that comes to nothing."
  (let ((account smtps-session-refused-account)
        (otherwise otherwise))
    (if (not account) (funcall function)
      (smtps-session-lead--log-in
       account (plist-get account :user) nil
       :then (lambda (value)
               (when (plist-get value :done)
                 (setq otherwise #'ignore)
                 (funcall function)))
       :finally (lambda () (funcall otherwise))))))

;;;; Without a mail

;;;###autoload
(defun smtps-session-reset ()
  "Say RSET: the server forgets sender and recipients (RFC 5321 4.1.1.5)."
  (interactive)
  (smtps-session-lead--assert-ready)
  (smtps-session-lead--assert-no-data)
  (smtps-session--type '("RSET")))

(defun smtps-session-lead--sender ()
  "Return the address of who writes to this session's server."
  (or (car (plist-get (smtps-session-lead--account) :from))
      user-mail-address))

;;;###autoload
(defun smtps-session-verify (recipient)
  "Have smtps ask whether the server would take RECIPIENT, and take it back.
The sender is the account's.  No mail is sent.  A server may say yes now and
no when the mail comes."
  (interactive (progn (smtps-session-lead--assert-free)
                      (list (read-string "Would it take RCPT TO: "))))
  (smtps-session-lead--assert-free)
  ;; One may have copied the brackets, and the name before them.
  (setq recipient (string-trim (if (string-match "<\\([^<>]*\\)>[ \t]*\\'" recipient)
                                   (match-string 1 recipient)
                                 recipient)))
  (when (string= recipient "")
    (user-error "No recipient was given; nothing was sent"))
  (smtps-session-lead--call 'session-verify
                            (list :from (smtps-session-lead--sender) :to recipient)))

(provide 'smtps-session-lead)
;;; smtps-session-lead.el ends here
