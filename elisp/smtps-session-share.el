;;; smtps-session-share.el --- What a session tells others  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The command by which another program does what was done in a session, and a
;; report that can be published.  Both are made from the transcript, which has
;; no secret in it.
;;
;; In a report names may be replaced: addresses, hosts, IP addresses, the names
;; of the user, what a certificate can be known by, and the letters of mails.
;; The same name has the same stand-in everywhere.

;;; Code:

(require 'smtps-session-keep)
(require 'smtps-doctor)

;;;; What was done

(defun smtps-session-share--address (sent)
  "Return the address in SENT, MAIL or RCPT with their parameters, or nil."
  (and (string-match ":[ \t]*<?\\([^<> \t]*\\)" sent)
       (match-string 1 sent)))

(defun smtps-session-share--envelope (exchanges)
  "Return the sender and the recipients of the last mail in EXCHANGES, a list.
The sender is nil where there was none."
  (let (from to)
    (dolist (exchange exchanges)
      (let ((sent (plist-get exchange :sent)))
        (pcase (smtps-session-keep-verb exchange)
          ("MAIL" (setq from (smtps-session-share--address sent)
                        to nil))
          ("RCPT" (push (smtps-session-share--address sent) to)))))
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

;;;; Stand-ins

(defconst smtps-session-share--label "[[:alnum:]_]\\(?:[[:alnum:]_-]*[[:alnum:]_]\\)?"
  "What looks like a part of a host's name.")

(defconst smtps-session-share--host
  (concat "\\(?:" smtps-session-share--label "\\.\\)+"
          "[[:alpha:]]\\(?:[[:alnum:]-]*[[:alnum:]]\\)")
  "What looks like the name of a host, with a dot in it.")

(defconst smtps-session-share--number
  (concat "\\(?:[0-9]+\\.\\)\\{3\\}[0-9]+"
          "\\|\\(?:[0-9a-f]+:\\)\\{7\\}[0-9a-f]+"
          "\\|\\(?:[0-9a-f]+:\\)*:\\(?::[0-9a-f]+\\)+\\|\\(?:[0-9a-f]+:\\)+\\(?::[0-9a-f]+\\)+")
  "What looks like an IP address.")

(defconst smtps-session-share--address
  (concat "\\([^][ \t\n<>(),:;\"'“”=\\]+\\)@\\(" smtps-session-share--host "\\|"
          smtps-session-share--label "\\|\\[[^] \t\n]+\\]\\)")
  "What looks like an address: the user is group 1, the host group 2.")

(defconst smtps-session-share--everybody-s
  '("127.0.0.1" "::1" "localhost" "localhost.localdomain" "auth" "data" "ehlo" "esmtp"
    "expn" "from" "helo" "help" "login" "mail" "noop" "plain" "quit" "rcpt" "recv" "rset"
    "send" "size" "smtp" "smtps" "starttls" "vrfy" "implicit" "host" "port" "date"
    "postmaster")
  "Names that tell nothing of anybody, and words of the dialogue.")

(defun smtps-session-share--stand-in (name kind names)
  "Return what stands for NAME, of KIND, in NAMES, a hash table."
  (let ((name (downcase name)))
    (if (member name smtps-session-share--everybody-s) name
      (or (gethash (cons kind name) names)
          (let ((number (1+ (gethash kind names 0))))
            (puthash kind number names)
            (puthash (cons kind name)
                     (format (pcase kind
                               ('user "user%d")
                               ('host "host%d.example")
                               ;; RFC 5737: no host has one of these.
                               ('number "192.0.2.%d"))
                             number)
                     names))))))

(defun smtps-session-share--named (text)
  "Return (HOSTS . USERS): names that the transcript TEXT has, or may have."
  (let ((account (smtps-host-account (plist-get smtps-session--arguments :host)
                                         (plist-get smtps-session--arguments :port)
                                         nil))
        (hosts (list (plist-get smtps-session--arguments :host) (system-name)))
        (users (append (list (user-login-name))
                       (split-string (user-full-name) "[^[:alnum:]]+" t))))
    (dolist (name (list smtps-session-user (plist-get account :user)))
      (when name
        (push (car (split-string name "@")) users)))
    (with-temp-buffer
      (insert text)
      (goto-char (point-min))
      (while (re-search-forward
              (concat "^ *[0-9]* *\\(?:send> \\(?:ehlo\\|helo\\)\\|recv> 220[ -]\\) *\\("
                      smtps-session-share--label "\\)\\(?: \\|$\\)")
              nil t)
        (push (match-string 1) hosts))
      (goto-char (point-min))
      (while (re-search-forward "send> \\(?:vrfy\\|expn\\|etrn\\) +\\([^ \n]+\\)" nil t)
        (push (match-string 1) users))
      (goto-char (point-min))
      (while (re-search-forward smtps-session-share--address nil t)
        (push (match-string 1) users)))
    (let ((known (lambda (name)
                   (and (> (length name) 2)
                        (not (string-match-p "\\`[0-9.]+\\'" name))
                        (not (member (downcase name)
                                     smtps-session-share--everybody-s))))))
      (cons (seq-filter known (delete-dups (delq nil hosts)))
            (seq-filter known (delete-dups (delq nil users)))))))

(defun smtps-session-share--replacer (text)
  "Return a function that puts stand-ins for what the transcript TEXT names."
  (pcase-let* ((`(,hosts . ,users) (smtps-session-share--named text))
               (names (make-hash-table :test #'equal))
               (words (lambda (list)
                        (if list (concat "\\b\\(" (regexp-opt list) "\\)\\b")
                          "\\(\\`a\\`\\)")))
               (regexp (concat smtps-session-share--address
                               "\\|\\(" smtps-session-share--number "\\)"
                               ;; A user may look like a host.
                               "\\|" (funcall words users)
                               "\\|" smtps-session-share--host
                               "\\|" (funcall words hosts))))
    (lambda (line)
      (let ((case-fold-search t))
        ;; What a certificate can be known by.
        (replace-regexp-in-string
         "\\(serial 0x\\|fingerprint \\|sha256//\\)[[:alnum:]+/=]+\\|\\(subject '\\)[^']*"
         "\\1\\2..."
         (replace-regexp-in-string
          regexp
          (lambda (name)
            (let ((user (match-string 1 name))
                  (host (match-string 2 name))
                  (kind (cond ((match-string 3 name) 'number)
                              ((match-string 4 name) 'user)
                              (t 'host))))
              (if user
                  (concat (smtps-session-share--stand-in user 'user names) "@"
                          (smtps-session-share--stand-in host 'host names))
                (smtps-session-share--stand-in name kind names))))
          line t t)
         t)))))

(defun smtps-session-share--challenge (line replace)
  "Return LINE, a 334 of the server, with REPLACE done to its base64."
  (string-match "\\`\\( *[0-9]* *recv> 334 \\)\\(.*\\)" line)
  (let* ((head (match-string 1 line))
         (base64 (match-string 2 line))
         (clear (ignore-errors
                  (decode-coding-string (base64-decode-string base64) 'utf-8))))
    (if clear
        (concat head (base64-encode-string
                      (encode-coding-string (funcall replace clear) 'utf-8) t))
      (funcall replace line))))

(defun smtps-session-share--shape (text header)
  "Return TEXT, a line of a message, with other letters.
If it is one of the HEADER, the field's name stays."
  (let ((name (and header (string-match "\\`[!-9;-~]+:" text) (match-string 0 text))))
    (concat name
            (replace-regexp-in-string
             "[^[:ascii:]]" "é"
             (replace-regexp-in-string "[a-zA-Z0-9]" "x"
                                       (substring text (length name)) t t)
             t t))))

(defun smtps-session-share--anonymous (text)
  "Return the transcript TEXT with stand-ins for names and letters of mails."
  (let ((replace (smtps-session-share--replacer text))
        message)
    (mapconcat
     (lambda (line)
       (cond
        ((string-match-p "\\` *[0-9]* *recv> 334 " line)
         (smtps-session-share--challenge line replace))
        ((and message
              (string-match "\\` *[0-9]* *send> ?" line)
              (not (string-suffix-p "send> ." line)))
         (let* ((head (match-string 0 line))
                (text (substring line (length head))))
           (when (string= text "")
             (setq message 'body))
           (concat head (smtps-session-share--shape text (eq message 'header)))))
        (t
         (when (string-match-p "\\` *[0-9]* *\\(?:recv\\|send\\)> " line)
           (setq message (and (string-match-p "recv> 354" line) 'header)))
         ;; The code is no part of the name that may stand right behind its dash.
         (if (string-match "\\` *[0-9]* *recv> [0-9]\\{3\\}-" line)
             (concat (match-string 0 line)
                     (funcall replace (substring line (match-end 0))))
           (funcall replace line)))))
     (split-string text "\n")
     "\n")))

;;;; The report

(defun smtps-session-share--versions (helper)
  "Return the lines of the report that tell versions; HELPER are the helper's."
  (concat (string-join (append helper
                               (list (format "Emacs: %s (%s)" emacs-version
                                             system-configuration)))
                       "\n")
          "\n\n"))

;;;###autoload
(defun smtps-session-report (&optional stand-ins)
  "Show the transcript of this session with the versions of what took part.
With STAND-INS, which is asked for, names, addresses and hosts are replaced, and
the letters of mails.  No secret is in it in either case.  Return the buffer."
  (interactive
   (list (y-or-n-p "Put stand-ins for names, addresses, hosts and the text of mails? ")))
  (let* ((text (smtps-session-keep-text))
         (text (if stand-ins (smtps-session-share--anonymous text) text))
         (buffer (generate-new-buffer "*smtps report*")))
    (cl-flet ((show (helper)
                (when (buffer-live-p buffer)
                  (with-current-buffer buffer
                    (save-excursion
                      (goto-char (point-min))
                      (insert (smtps-session-share--versions helper)))))))
      (with-current-buffer buffer
        (text-mode)
        (insert text)
        (goto-char (point-min)))
      (pop-to-buffer buffer)
      (smtps-helper-call
       'hello (list :version smtps-helper-version :wire smtps-helper-wire)
       :then (lambda (hello) (show (smtps-doctor--hello hello)))
       :else (lambda (problem) (show (list (format "Helper: %s" (cadr problem)))))))
    buffer))

(provide 'smtps-session-share)
;;; smtps-session-share.el ends here
