;;; smtps-session-share.el --- A session as another's command  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The command by which another program does what was done in a session.  It is
;; made from the transcript, which has no secret in it.

;;; Code:

(require 'smtps-session-keep)

;;;; What was done

(defun smtps-session-share--envelope (exchanges)
  "Return the sender and the recipients of the last mail in EXCHANGES, a list.
The sender is nil where there was none."
  (let (from to)
    (dolist (exchange exchanges)
      (let ((sent (plist-get exchange :sent)))
        (pcase (smtps-session-keep-verb exchange)
          ("MAIL" (setq from (smtps-session-keep-address sent)
                        to nil))
          ("RCPT" (push (smtps-session-keep-address sent) to)))))
    (cons from (delete-dups (delq nil (nreverse to))))))

(defun smtps-session-share--mechanism (exchanges)
  "Return the mechanism of the last login in EXCHANGES, or nil."
  (let ((login (seq-find (lambda (exchange)
                           (equal (smtps-session-keep-verb exchange) "AUTH"))
                         (reverse exchanges))))
    (and login (upcase (or (nth 1 (split-string (plist-get login :sent))) "")))))

(defun smtps-session-share--facts ()
  "Return what was done in this session, a plist."
  (let* ((exchanges (ignore-error user-error ; Nothing was said.
                      (plist-get (smtps-session-keep-read (smtps-session-keep-text))
                                 :exchanges)))
         (host (plist-get smtps-session--arguments :host))
         (port (plist-get smtps-session--arguments :port))
         (mechanism (or smtps-session-mechanism
                        (smtps-session-share--mechanism exchanges)))
         (envelope (smtps-session-share--envelope exchanges)))
    (list :host host :port port
          :tls (cond ((seq-find (lambda (exchange)
                                  (equal (smtps-session-keep-verb exchange) "STARTTLS"))
                                exchanges)
                      'starttls)
                     ((eq (smtps-session-keep--tls) 'implicit) 'implicit)
                     (t 'none))
          :ca-file (plist-get smtps-session--arguments :ca-file)
          :certificate (plist-get smtps-session--arguments :client-certificate)
          :key (plist-get smtps-session--arguments :client-key)
          :mechanism mechanism
          :user (and mechanism
                     (or smtps-session-user
                         (plist-get (smtps-host-account host port nil) :user)
                         (smtps-session-last-name host port)
                         "USER"))
          :from (car envelope)
          :to (cdr envelope))))

;;;; Commands

(defun smtps-session-share--words (&rest words)
  "Return the command of WORDS for a POSIX shell.
A list among them is left out where a part of it is nil."
  (mapconcat (lambda (word)
               (if (string-match-p "\\`[a-zA-Z0-9@%+=:,./_-]+\\'" word) word
                 (concat "'" (string-replace "'" "'\\''" word) "'")))
             (seq-mapcat (lambda (word)
                           (cond ((stringp word) (list word))
                                 ((memq nil word) nil)
                                 (t word)))
                         words)
             " "))

(defun smtps-session-share--smtps (facts)
  "Return the command of smtps that does what FACTS tell."
  (let* ((to (plist-get facts :to))
         (user (plist-get facts :user))
         (sends (and to (plist-get facts :from)))
         (options (list (list "--host" (plist-get facts :host))
                        (list "--port" (number-to-string (plist-get facts :port)))
                        (list "--tls" (symbol-name (plist-get facts :tls)))
                        (list "--ca-file" (plist-get facts :ca-file))
                        (list "--client-certificate" (plist-get facts :certificate))
                        (list "--client-key" (plist-get facts :key))))
         (login (list (list "--user" user)
                      (list "--auth" (plist-get facts :mechanism)))))
    (cond
     (sends
      (concat (apply #'smtps-session-share--words "smtps" "send"
                     (append options login
                             (list "-f"
                                   (if (equal (plist-get facts :from) "") "<>"
                                     (plist-get facts :from))
                                   "--")
                             to))
              " < message.eml"))
     (user (apply #'smtps-session-share--words "smtps" "check" (append options login)))
     (t (apply #'smtps-session-share--words "smtps" "session" options)))))

(defun smtps-session-share--swaks (facts)
  "Return the command of swaks that does what FACTS tell."
  (let ((to (plist-get facts :to))
        (tls (plist-get facts :tls))
        (user (plist-get facts :user)))
    (apply #'smtps-session-share--words "swaks"
           "--server" (plist-get facts :host)
           "--port" (number-to-string (plist-get facts :port))
           (append
            (pcase tls
              ('implicit '("--tls-on-connect"))
              ('starttls '("--tls")))
            (unless (eq tls 'none)
              (list "--tls-verify"
                    (list "--tls-ca-path" (plist-get facts :ca-file))
                    (list "--tls-cert" (plist-get facts :certificate))
                    (list "--tls-key" (or (plist-get facts :key)
                                          (plist-get facts :certificate)))))
            (list (list "--auth" (plist-get facts :mechanism))
                  (list "--auth-user" user)
                  (list "--from" (if (equal (plist-get facts :from) "") "<>"
                                   (plist-get facts :from))))
            (if to (list "--to" (string-join to ","))
              (list "--quit-after" (if user "AUTH" "FIRST-HELO")))))))

(defun smtps-session-share--openssl (facts)
  "Return the command of openssl for the connection of FACTS.
Signal `user-error' if there was no TLS."
  (let* ((host (plist-get facts :host))
         (number (string-match-p "\\`[0-9.]+\\'\\|:" host)))
    (when (eq (plist-get facts :tls) 'none)
      (user-error "There was no TLS, which is what openssl is for"))
    (apply #'smtps-session-share--words
           ;; Without -quiet a line that begins with Q, R or k is a command.
           "openssl" "s_client" "-quiet" "-crlf"
           "-connect" (format (if (string-search ":" host) "[%s]:%d" "%s:%d") host
                              (plist-get facts :port))
           (append
            (and (eq (plist-get facts :tls) 'starttls) '("-starttls" "smtp"))
            (if number (list "-verify_ip" host)
              (list "-servername" host "-verify_hostname" host))
            (list "-verify_return_error"
                  (list "-CAfile" (plist-get facts :ca-file))
                  (list "-cert" (plist-get facts :certificate))
                  (list "-key" (plist-get facts :key)))))))

(defconst smtps-session-share--programs
  '(("smtps" . smtps-session-share--smtps)
    ("swaks" . smtps-session-share--swaks)
    ("openssl" . smtps-session-share--openssl))
  "Programs, and what makes their command.")

;;;###autoload
(defun smtps-session-copy-as (program)
  "Put into the kill ring the command by which PROGRAM does what was done here.
PROGRAM is smtps, swaks or openssl, which is asked for.  No secret is in it: the
programs ask for the password.  For openssl it is the connection only."
  (interactive
   (progn
     (unless (derived-mode-p 'smtps-session-mode)
       (user-error "This is not a session buffer"))
     (list (completing-read "Copy as a command of: " smtps-session-share--programs
                            nil t))))
  (let ((command (funcall (or (cdr (assoc program smtps-session-share--programs))
                              (user-error "There is no command of “%s”" program))
                          (smtps-session-share--facts))))
    (kill-new command)
    (message "Copied: %s" command)))

(provide 'smtps-session-share)
;;; smtps-session-share.el ends here
