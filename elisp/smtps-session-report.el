;;; smtps-session-report.el --- A session that can be published  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The transcript of a session with the versions of what took part.  In a
;; report names may be replaced: addresses, hosts, IP addresses, the names of
;; the user, what a certificate can be known by, the numbers that a server
;; gives to a mail or a connection, and the letters of mails.  The same name
;; has the same stand-in everywhere.
;;
;; What a line may be known by depends on who wrote it: smtps about the
;; connection, we, or the server, which may say anything.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'smtps-session-keep)
(require 'smtps-doctor)

;;;; Names, and what stands for them

(defconst smtps-session-report--label "[[:alnum:]_]\\(?:[[:alnum:]_-]*[[:alnum:]_]\\)?"
  "What looks like a part of a host's name.")

(defconst smtps-session-report--host
  (concat "\\(?:" smtps-session-report--label "\\.\\)+"
          "[[:alpha:]]\\(?:[[:alnum:]-]*[[:alnum:]]\\)")
  "What looks like the name of a host, with a dot in it.")

(defconst smtps-session-report--number
  (concat "\\(?:[0-9]+\\.\\)\\{3\\}[0-9]+"
          "\\|\\(?:\\(?:[0-9a-f]+:\\)\\{7\\}[0-9a-f]+"
          "\\|\\(?:[0-9a-f]+:\\)*:\\(?::[0-9a-f]+\\)+"
          "\\|\\(?:[0-9a-f]+:\\)+\\(?::[0-9a-f]+\\)+\\)\\(?:\\.[0-9]+\\)*")
  "What looks like an IP address.")

(defconst smtps-session-report--address
  (concat "\\([^][ \t\n<>(),:;\"'“”=\\]+\\)@\\(" smtps-session-report--host "\\|"
          smtps-session-report--label "\\|\\[[^] \t\n]+\\]\\)")
  "What looks like an address: the user is group 1, the host group 2.")

(defconst smtps-session-report--everybody-s
  '("127.0.0.1" "::1" "localhost" "localhost.localdomain" "auth" "data" "ehlo" "esmtp"
    "expn" "from" "helo" "help" "login" "mail" "noop" "plain" "quit" "rcpt" "recv" "rset"
    "send" "size" "smtp" "smtps" "starttls" "vrfy" "implicit" "host" "port" "date"
    "postmaster" "none")
  "Names that tell nothing of anybody, and words of the dialogue.")

(defun smtps-session-report--stand-in (name kind names)
  "Return what stands for NAME, of KIND, in NAMES, a hash table."
  (let ((name (downcase name)))
    (if (member name smtps-session-report--everybody-s) name
      (or (gethash (cons kind name) names)
          (let ((number (1+ (gethash kind names 0))))
            (puthash kind number names)
            (puthash (cons kind name)
                     (format (pcase kind
                               ('user "user%d")
                               ('id "id%d")
                               ('host "host%d.example")
                               ;; RFC 5737: no host has one of these.
                               ('number "192.0.2.%d"))
                             number)
                     names))))))

(defun smtps-session-report--found (regexp)
  "Return what the first group of REGEXP matches in this buffer, a list."
  (let (found)
    (goto-char (point-min))
    (while (re-search-forward regexp nil t)
      (push (match-string 1) found))
    found))

(defun smtps-session-report--users (text)
  "Return names of users that the transcript TEXT has, or may have."
  (let* ((host (plist-get smtps-session--arguments :host))
         (port (plist-get smtps-session--arguments :port))
         (logins (delq nil (list smtps-session-user
                                 (plist-get (smtps-host-account host port nil) :user)
                                 (smtps-session-last-name host port)))))
    (append (list (user-login-name))
            (split-string (user-full-name) "[^[:alnum:]]+" t)
            logins
            (seq-mapcat (lambda (login) (split-string login "[@\\/]+" t)) logins)
            (with-temp-buffer
              (insert text)
              (append (smtps-session-report--found
                       "send> \\(?:vrfy\\|expn\\|etrn\\) +\\([^ \n]+\\)")
                      (smtps-session-report--found smtps-session-report--address))))))

(defun smtps-session-report--hosts (text)
  "Return names of hosts that the transcript TEXT has, or may have.
Those with a dot in them need not be known."
  (with-temp-buffer
    (insert text)
    (append
     (list (plist-get smtps-session--arguments :host) (system-name)
           (car (split-string (system-name) "\\.")))
     (smtps-session-report--found
      (concat "^ *[0-9]* *\\(?:send> \\(?:ehlo\\|helo\\)\\|recv> 220[ -]\\) *\\("
              smtps-session-report--label "\\)\\(?: \\|$\\)"))
     (smtps-session-report--found
      (concat "send> \\(?:ehlo\\|helo\\).*\n *[0-9]* *recv> 250[ -]\\("
              smtps-session-report--label "\\)\\(?: \\|$\\)"))
     (seq-mapcat (lambda (names) (split-string names ", " t "[* .]+"))
                 (smtps-session-report--found "^ *- names: \\(.*\\)$")))))

(defun smtps-session-report--known (names)
  "Return a regexp for NAMES, as words, but for those that tell nothing."
  (let ((names (seq-filter
                (lambda (name)
                  (and name
                       (> (length name) 2)
                       (not (string-match-p "\\`[0-9.]+\\'" name))
                       (not (member (downcase name)
                                    smtps-session-report--everybody-s))))
                (delete-dups names))))
    (if names (concat "\\b\\(" (regexp-opt names) "\\)\\b")
      "\\(\\`a\\`\\)")))

(defun smtps-session-report--replacer (text names)
  "Return a function that puts stand-ins for what the transcript TEXT names.
NAMES is a hash table."
  (let ((regexp (concat smtps-session-report--address
                        "\\|\\(" smtps-session-report--number "\\)"
                        ;; A user may look like a host.
                        "\\|" (smtps-session-report--known
                               (smtps-session-report--users text))
                        "\\|" smtps-session-report--host
                        "\\|" (smtps-session-report--known
                               (smtps-session-report--hosts text)))))
    (lambda (line)
      (let ((case-fold-search t))
        (replace-regexp-in-string
         regexp
         (lambda (name)
           (let ((user (match-string 1 name))
                 (host (match-string 2 name))
                 (kind (cond ((match-string 3 name) 'number)
                             ((match-string 4 name) 'user)
                             (t 'host))))
             (if user
                 (concat (smtps-session-report--stand-in user 'user names) "@"
                         (smtps-session-report--stand-in host 'host names))
               (smtps-session-report--stand-in name kind names))))
         line t t)))))

;;;; What smtps tells

(defconst smtps-session-report--certificate
  '(("\\( - subject '\\).*" . "\\1...'")
    ("\\( - issuer '\\).*" . "\\1...', serial 0x...")
    ("\\( - SHA-256 fingerprint \\).*" . "\\1...")
    ("\\(sha256//\\)[[:alnum:]+/=]+" . "\\1...")
    ;; To the second it can be found in the logs of all certificates (RFC 9162).
    ("\\([0-9]\\{4\\}-[0-9][0-9]-[0-9][0-9]\\) [0-9:]\\{8\\} UTC" . "\\1"))
  "What a certificate can be known by, and what stands for it.")

(defun smtps-session-report--about (line replace names)
  "Return LINE, about the connection, with REPLACE done, stand-ins from NAMES."
  (if (string-match "From the outbox: “" line)
      (concat (substring line 0 (match-end 0))
              (smtps-session-report--shape (substring line (match-end 0)) nil))
    (pcase-dolist (`(,regexp . ,instead) smtps-session-report--certificate)
      (setq line (replace-regexp-in-string regexp instead line t)))
    ;; What stands in quotes are the server's words.
    (replace-regexp-in-string
     "“[^”]*”"
     (lambda (words) (smtps-session-report--ids words names))
     (funcall replace line) t t)))

;;;; What the server says

(defconst smtps-session-report--not-an-id
  "\\`\\(?:user[0-9]+\\|host[0-9]+\\(?:\\.example\\)?\\|id[0-9]+\\|192\\.0\\.2\\.[0-9]+\
\\|RFC ?[0-9]+\\|TLSv?[0-9.]+\\|SHA-?[0-9]+\\|8BITMIME\\|SMTPUTF8\\|UTF-?8\
\\|[A-Z]+-MD5\\|SCRAM-[A-Z0-9-]+\\|X?OAUTH2?\\|base64\\|IPv[46]\\)\\'"
  "What looks like a number that a server gave to something, and is none.")

(defun smtps-session-report--ids (text names)
  "Return TEXT of a server with stand-ins from NAMES for what it numbers.
Those are queue IDs, names of connections, and times as numbers."
  (replace-regexp-in-string
   "[[:alnum:]][[:alnum:]._~+/=-]*[[:alnum:]=]"
   (lambda (word)
     (let ((case-fold-search nil))
       (if (or (string-match-p smtps-session-report--not-an-id word)
               (not (string-match-p "[0-9]" word))
               (if (string-match-p "[[:alpha:]]" word)
                   (< (length (replace-regexp-in-string "[^[:alnum:]]" "" word)) 6)
                 (not (string-match-p "[0-9]\\{10\\}" word))))
           word
         (smtps-session-report--stand-in word 'id names))))
   text t t))

(defun smtps-session-report--clear (base64)
  "Return the text that BASE64 stands for, or nil if that is none.
It is one only if all of it can be read."
  (let ((octets (ignore-errors (base64-decode-string base64))))
    (and octets
         (not (string-match-p "[\0-\x08\x0b-\x1f\x7f]" octets))
         (let ((text (decode-coding-string octets 'utf-8)))
           (and (not (string-match-p "[\x3fff80-\x3fffff]" text)) text)))))

(defun smtps-session-report--encoded (text)
  "Return TEXT in base64."
  (base64-encode-string (encode-coding-string text 'utf-8) t))

(defun smtps-session-report--challenge (base64 replace)
  "Return BASE64, a 334 of the server, with REPLACE done to what it stands for."
  (let ((clear (smtps-session-report--clear base64)))
    (cond
     ((string= base64 "") "")
     ;; Like NTLM's, which has names in it.
     ((null clear) (smtps-session-report--encoded "..."))
     ;; By what SCRAM says, passwords could be tried out (RFC 5802 section 9).
     ((string-match-p "\\`[rve]=" clear)
      (smtps-session-report--encoded
       (replace-regexp-in-string "\\([rsv]=\\)[^,]*" "\\1..." clear)))
     (t (smtps-session-report--encoded (funcall replace clear))))))

(defun smtps-session-report--base64 (text replace)
  "Return TEXT with REPLACE done to what the base64 in it stands for."
  (replace-regexp-in-string
   "[[:alnum:]+/]\\{4,\\}=\\{0,2\\}"
   (lambda (word)
     (let* ((clear (and (zerop (% (length word) 4))
                        (smtps-session-report--clear word)))
            (other (and clear (funcall replace clear))))
       (if (or (null clear) (equal clear other)) word
         (smtps-session-report--encoded other))))
   text t t))

(defun smtps-session-report--said (text replace names keywords)
  "Return TEXT, a line of the server's, with REPLACE done, stand-ins from NAMES.
If KEYWORDS, it tells what the server offers."
  (if (string-match "\\`334 " text)
      (concat "334 " (smtps-session-report--challenge (substring text 4) replace))
    ;; The code is no part of the name that may stand right behind its dash.
    (let* ((begin (if (string-match "\\`[0-9]\\{3\\}[ -]" text) (match-end 0) 0))
           (words (funcall replace
                           (smtps-session-report--base64 (substring text begin)
                                                         replace))))
      (concat (substring text 0 begin)
              (if keywords words (smtps-session-report--ids words names))))))

;;;; What we say

(defconst smtps-session-report--fields
  "\\`\\(?:From\\|Sender\\|To\\|Cc\\|Bcc\\|Reply-To\\|Subject\\|Date\\|Message-ID\
\\|In-Reply-To\\|References\\|Resent-[a-z-]+\\|MIME-Version\\|Content-[a-z-]+\
\\|User-Agent\\|Received\\|Return-Path\\|Comments\\|Keywords\\|DKIM-Signature\\):"
  "Fields of a header whose name tells nothing of anybody (RFC 5322 section 3.6).")

(defun smtps-session-report--shape (text header)
  "Return TEXT, a line of a message, with other letters.
If it is one of the HEADER, a field's name stays that everybody has."
  (let* ((case-fold-search t)
         (name (and header (string-match smtps-session-report--fields text)
                    (match-string 0 text))))
    (concat name
            (replace-regexp-in-string
             "[^[:ascii:]“”]" "é"
             (replace-regexp-in-string "[a-zA-Z0-9]" "x"
                                       (substring text (length name)) t t)
             t t))))

(defun smtps-session-report--sent (text replace)
  "Return TEXT, a command of ours, with REPLACE done."
  (let ((case-fold-search t))
    (funcall replace (replace-regexp-in-string "\\( ENVID=\\)[^ ]+" "\\1..." text))))

;;;; All of it

(defun smtps-session-report--anonymous (text)
  "Return the transcript TEXT with stand-ins for names and letters of mails."
  (let* ((names (make-hash-table :test #'equal))
         (replace (smtps-session-report--replacer text names))
         (case-fold-search t)
         message chunk verb)
    (mapconcat
     (lambda (line)
       (if (not (string-match "\\`\\( *[0-9]* *\\(recv\\|send\\)> ?\\)\\(.*\\)" line))
           (progn
             (when (string-match-p "\\` *- [0-9]+ more lines of the message" line)
               (setq message nil))
             (smtps-session-report--about line replace names))
         (let ((head (match-string 1 line))
               (ours (equal (match-string 2 line) "send"))
               (text (match-string 3 line)))
           (concat
            head
            (cond
             ((not ours)
              (cond ((string-match-p "\\`354" text) (setq message 'header))
                    (chunk (setq message nil chunk nil)))
              ;; Behind the first line of EHLO's reply.
              (let ((keywords (eq verb 'offers)))
                (setq verb (and verb (string-match-p "\\`250" text) 'offers))
                (smtps-session-report--said text replace names keywords)))
             ;; It has no end but its dot, whatever a server says in between.
             ((and message (not (equal text ".")))
              (when (string= text "")
                (setq message 'body))
              (smtps-session-report--shape text (eq message 'header)))
             (t
              (setq chunk (string-match-p "\\`bdat " text)
                    message (and chunk 'header)
                    verb (and (string-match-p "\\`ehlo " text) 'ehlo))
              (smtps-session-report--sent text replace)))))))
     (split-string text "\n")
     "\n")))

;;;; The report

(defun smtps-session-report--versions (helper)
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
         (text (if stand-ins (smtps-session-report--anonymous text) text))
         (buffer (generate-new-buffer "*smtps report*")))
    (cl-flet ((show (helper)
                (when (buffer-live-p buffer)
                  (with-current-buffer buffer
                    (save-excursion
                      (goto-char (point-min))
                      (insert (smtps-session-report--versions helper)))))))
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

(provide 'smtps-session-report)
;;; smtps-session-report.el ends here
