;;; smtps-secrets-test.el --- No password is anywhere but where it was put  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Every mechanism, with good and bad passwords, typed by hand and sent by
;; the outbox.  Afterwards everything that Emacs and the helper have shown
;; or written is searched for the password, in clear and in base64.

;;; Code:

(require 'smtps-real)
(require 'smtps-session)
(require 'smtps-session-lead)
(require 'smtps-check)
(require 'smtps-eshell-driver)
(require 'url-util)

(defconst smtps-secrets-test-logins
  `(("from-address@poste.it" . "secret")
    ("accented@poste.it" . "pässwörd \"quoted\" 100%")
    ("token@poste.it" . ,(apply #'concat (make-list 128 "Tr0ub4dor-horse_"))))
  "The sandbox's users, and their passwords or tokens.")

(defconst smtps-secrets-test-with-password
  '("SCRAM-SHA-512-PLUS" "SCRAM-SHA-256-PLUS" "SCRAM-SHA-1-PLUS"
    "SCRAM-SHA-512" "SCRAM-SHA-256" "SCRAM-SHA-1" "PLAIN" "LOGIN" "DIGEST-MD5" "CRAM-MD5")
  "The mechanisms that need a password.")

(defconst smtps-secrets-test-with-token '("OAUTHBEARER" "XOAUTH2")
  "The mechanisms that need a token.")

(defconst smtps-secrets-test-without '("EXTERNAL" "ANONYMOUS")
  "The mechanisms that need no secret.")

(defconst smtps-secrets-test-wrong
  (list "wröng \"quoted\" 200%" (apply #'concat (make-list 128 "Wr0ng-token_")))
  "A password and a token that nobody has.")

(defconst smtps-secrets-test-passphrase "pässphrase"
  "The passphrase of the client's key.")

(defun smtps-secrets-test-mechanisms (secret)
  "Return the mechanisms that SECRET can be used by."
  (append smtps-secrets-test-with-password
          ;; A token is one word of ASCII.
          (and (string-match-p "\\`[!-~]+\\'" secret) smtps-secrets-test-with-token)))

(defun smtps-secrets-test-share (secret)
  "Return the mechanisms that are SECRET's part, where a login by each is enough."
  (let ((number (cl-position secret smtps-secrets-test-logins :key #'cdr :test #'equal)))
    (append (cl-loop for mechanism in smtps-secrets-test-with-password and at from 0
                     when (= (mod at (length smtps-secrets-test-logins)) number)
                     collect mechanism)
            (and (= (1+ number) (length smtps-secrets-test-logins))
                 smtps-secrets-test-with-token))))

(defun smtps-secrets-test-wrong-for (mechanism)
  "Return what is refused by MECHANISM."
  (nth (if (member mechanism smtps-secrets-test-with-token) 1 0) smtps-secrets-test-wrong))

(defun smtps-secrets-test-base64 (text)
  "Return TEXT's UTF-8 in base64, without line breaks."
  (base64-encode-string (encode-coding-string text 'utf-8) t))

(defun smtps-secrets-test-aligned (text)
  "Return the three base64s of TEXT with other octets before and behind it.
The characters that it shares with those are left out."
  (let ((octets (encode-coding-string text 'utf-8)))
    (mapcar (lambda (before)
              (substring (base64-encode-string (concat (make-string before ?#) octets) t)
                         (/ (+ (* 8 before) 5) 6)
                         (/ (* 8 (+ before (length octets))) 6)))
            '(0 1 2))))

(defun smtps-secrets-test-forms (user secret)
  "Return the texts that USER's password SECRET could be found as.
Its first word stands for what is left of one that was cut."
  (let ((word (car (split-string secret "[ _]"))))
    (delete-dups
     (append
      ;; The word secret stands in names of ours, too.
      (unless (equal word secret)
        (list secret (substring (prin1-to-string secret) 1 -1) word
              (encode-coding-string word 'utf-8) (encode-coding-string word 'latin-1)
              (url-hexify-string word)
              (replace-regexp-in-string "[^ -~]" (lambda (c) (format "\\\\%03o" (aref c 0)))
                                        (encode-coding-string word 'utf-8) t)
              (replace-regexp-in-string "[^ -~]" (lambda (c) (format "\\u%04x" (aref c 0)))
                                        word t t)))
      (list (smtps-secrets-test-base64 secret))
      (mapcar #'smtps-secrets-test-base64 (smtps-secrets-test-blobs user secret))
      (smtps-secrets-test-aligned word)))))

(defun smtps-secrets-test-blobs (user secret)
  "Return what the mechanisms say that send SECRET, USER's, as it is.
They are PLAIN without and with an identity to act as, OAUTHBEARER and XOAUTH2."
  (list (concat "\0" user "\0" secret)
        (concat user "\0" user "\0" secret)
        (format "n,a=%s,\1auth=Bearer %s\1\1" user secret)
        (format "user=%s\1auth=Bearer %s\1\1" user secret)))

(defun smtps-secrets-test-word-in (text)
  "Return where TEXT has the word secret as a word of its own, or nil.
Names of ours, as in :secret and smtps-secret, are none."
  (let ((case-fold-search nil))
    (string-match-p "\\(?:\\`\\|[^-:%[:alnum:]]\\)secret\\(?:\\'\\|[^-[:alnum:]]\\)"
                    ;; So the helper says that a mail waits for one.
                    (string-replace ":waits secret" ":waits-secret" text))))

(defun smtps-secrets-test-erase (&rest names)
  "Erase the buffers with NAMES that there are."
  (dolist (buffer (delq nil (mapcar #'get-buffer names)))
    (with-current-buffer buffer
      (let ((inhibit-read-only t))
        (erase-buffer)))))

(defun smtps-secrets-test-processes ()
  "Return the processes below this Emacs: an alist of numbers and their arguments."
  (let ((found nil)
        (below (list (emacs-pid)))
        (all (mapcar (lambda (pid) (cons pid (process-attributes pid)))
                     (list-system-processes))))
    (while below
      (let ((parent (pop below)))
        (pcase-dolist (`(,pid . ,attributes) all)
          (when (eql parent (alist-get 'ppid attributes))
            (push pid below)
            (push (cons pid (or (alist-get 'args attributes) "")) found)))))
    ;; There the arguments of strangers were decoded.  It was searched before.
    (smtps-secrets-test-erase " *code-conversion-work*")
    found))

(defun smtps-secrets-test-places ()
  "Return all places: an alist of names and their texts."
  (append
   (mapcar (lambda (buffer)
             (with-current-buffer buffer
               (cons (buffer-name)
                     (save-restriction
                       (widen)
                       (concat (buffer-substring-no-properties (point-min) (point-max))
                               "\n"
                               (prin1-to-string (and (listp buffer-undo-list)
                                                     buffer-undo-list))
                               "\n"
                               (mapconcat (lambda (history)
                                            (and (local-variable-p history)
                                                 (prin1-to-string (symbol-value history))))
                                          '(comint-input-ring eshell-history-ring)
                                          "\n"))))))
           (buffer-list))
   (list (cons "told" (string-join smtps-real-told "\n"))
         (cons "kill ring" (prin1-to-string kill-ring))
         (cons "keys" (concat (seq-filter #'characterp (recent-keys))))
         (cons "minibuffer" (prin1-to-string minibuffer-history))
         (cons "commands" (prin1-to-string command-history))
         (cons "memory" (let ((print-circle t) (print-gensym t))
                          (prin1-to-string
                           (list smtps-credentials--memory smtps-send--waiting
                                 smtps-send--told smtps-session--buffers))))
         (cons "process list" (mapconcat #'cdr (smtps-secrets-test-processes) "\n")))
   (mapcar (lambda (file)
             (cons file (with-temp-buffer
                          (insert-file-contents file)
                          (buffer-string))))
           (cl-remove-if (lambda (file) (member file auth-sources))
                         (directory-files-recursively smtps-real-home "")))))

(defun smtps-secrets-test-search (user secret)
  "Fail if SECRET, USER's password, or any other is found in any place."
  (let ((forms (delete-dups
                (mapcan (lambda (secret) (smtps-secrets-test-forms user secret))
                        `(,secret ,smtps-secrets-test-passphrase
                                  ,@smtps-secrets-test-wrong))))
        (places (smtps-secrets-test-places)))
    (should (assoc " *smtps-helper log*" places))
    (should (string-search " rpc" (cdr (assoc "process list" places))))
    (pcase-dolist (`(,name . ,text) places)
      (dolist (form forms)
        (smtps-secrets-test-not-at (string-search form text) form name text))
      (smtps-secrets-test-not-at (smtps-secrets-test-word-in text) "secret" name text))))

(defun smtps-secrets-test-not-at (at form name text)
  "Fail if AT is a number: there FORM stands in TEXT of the place NAME."
  (when at
    (ert-fail (list form 'in name
                    (substring text (max 0 (- at 100)) (min (length text) (+ at 100)))))))

(defmacro smtps-secrets-test-with (&rest body)
  "Evaluate BODY in a world of its own, for each login: USER and SECRET.
The sandbox offers every mechanism."
  (declare (indent 0) (debug t))
  `(let ((smtps-real-sandbox-words '("--offer" "AUTH")))
     (pcase-dolist (`(,user . ,secret) smtps-secrets-test-logins)
       (smtps-real-with
         (let ((kill-ring nil))
           (smtps-secrets-test-no-messages)
           (smtps-real-account :user user :ca-file (smtps-real-property :ca-file))
           ,@body)))))

(defun smtps-secrets-test-no-messages ()
  "Erase what was shown so far, and what loading this file has left."
  (smtps-secrets-test-erase "*Messages*" " *code-conversion-work*" " *smtps-helper log*"))

(defun smtps-secrets-test-save (user secret)
  "Write SECRET into ~/.authinfo, as USER's."
  (smtps-real-authinfo (format "machine localhost login %s password '%s'" user secret)))

;;; The search finds what is there

(ert-deftest smtps-secrets-test-the-search-finds ()
  (smtps-secrets-test-with
    (smtps-helper-call 'hello '(:version "0.1.0" :wire 1))
    (smtps-real-until (smtps-helper-live-p))
    (smtps-secrets-test-search user secret)
    (dolist (form (append (smtps-secrets-test-forms user secret)
                          (mapcar #'smtps-secrets-test-base64
                                  (smtps-secrets-test-blobs user secret))
                          (list secret (format "\n%s\n" secret) (format "\"%s\"" secret))))
      (with-temp-buffer
        (insert form)
        (should-error (smtps-secrets-test-search user secret) :type 'ert-test-failed))
      (let ((file (expand-file-name "file" smtps-real-home))
            (coding-system-for-write (if (multibyte-string-p form) 'utf-8-unix 'no-conversion)))
        (write-region form nil file nil 'silent)
        (should-error (smtps-secrets-test-search user secret) :type 'ert-test-failed)
        (delete-file file))
      (let ((inhibit-message t))
        (message "%s" form))
      (should-error (smtps-secrets-test-search user secret) :type 'ert-test-failed)
      (smtps-secrets-test-no-messages))))

(ert-deftest smtps-secrets-test-no-mechanism-is-left-out ()
  (smtps-real-with
    (with-temp-buffer
      (apply #'call-process (car (smtps-helper-program)) nil t nil
             (append (cdr (smtps-helper-program))
                     (list "check" "--host" "localhost"
                           "--port" (number-to-string (smtps-real-property :port))
                           "--ca-file" (smtps-real-property :ca-file)
                           "--user" "u" "--auth" "NONE")))
      (goto-char (point-min))
      (should (re-search-forward "NONE is no mechanism .+; there are \\(.+\\)\\.$"))
      (should-not (cl-set-exclusive-or (split-string (match-string 1) ", ")
                                       (append smtps-secrets-test-with-password
                                               smtps-secrets-test-with-token
                                               smtps-secrets-test-without)
                                       :test #'equal)))))

;;; Sending

(defun smtps-secrets-test-send (mechanism)
  "Send a mail, logging in by MECHANISM, and wait for what becomes of it."
  (setf (plist-get (cdar smtps-accounts) :mechanisms) (list mechanism))
  (setq smtps-real-told nil)
  (smtps-real-send)
  (smtps-real-until (smtps-real-told-p "accepted\\|M-x smtps-answer")))

(ert-deftest smtps-secrets-test-sending ()
  (smtps-secrets-test-with
    (smtps-secrets-test-save user secret)
    (dolist (mechanism (smtps-secrets-test-mechanisms secret))
      (smtps-secrets-test-send mechanism)
      (should (smtps-real-told-p "accepted")))
    (smtps-secrets-test-search user secret)))

(ert-deftest smtps-secrets-test-sending-with-a-client-key ()
  (smtps-secrets-test-with
    (smtps-secrets-test-save user secret)
    (smtps-real-account :user user :ca-file (smtps-real-property :ca-file)
                        :client-certificate (smtps-real-client-key))
    (setq smtps-real-answers (list (car smtps-secrets-test-wrong)))
    (smtps-real-send)
    (smtps-real-until (smtps-real-told-p "M-x smtps-answer"))
    (should (string-match-p "Passphrase" (car smtps-real-questions)))
    (smtps-secrets-test-search user secret)
    (setq smtps-real-answers (list smtps-secrets-test-passphrase))
    (smtps-answer)
    (smtps-real-until (equal (smtps-real-state) '(sent)))
    (smtps-secrets-test-search user secret)
    (setq smtps-real-answers (list smtps-secrets-test-passphrase))
    (with-current-buffer (smtps-check "sandbox")
      (smtps-real-until (equal mode-line-process ":works")))
    (smtps-secrets-test-search user secret)))

(defun smtps-secrets-test-unsent-p ()
  "Return the states of the mails in the outbox that were not sent."
  (remq 'sent (smtps-real-state)))

(ert-deftest smtps-secrets-test-sending-with-a-refused-password ()
  "It is forgotten, asked for again in a command, and the good one is offered."
  (smtps-secrets-test-with
    (dolist (mechanism (smtps-secrets-test-share secret))
      (let ((auth-source-save-behavior 'ask)
            (wrong (smtps-secrets-test-wrong-for mechanism))
            (asked nil))
        (smtps-real-authinfo "machine else login u password p")
        (smtps-credentials-forget-all)
        (setq smtps-real-answers (list wrong)
              smtps-real-questions nil)
        (smtps-secrets-test-send mechanism)
        (should (smtps-real-told-p "refused the login.+535.+M-x smtps-answer asks for it anew"))
        (should (equal (smtps-secrets-test-unsent-p) '(queue)))
        (should-not smtps-credentials--memory)
        (should (equal (length smtps-real-questions) 1))
        ;; Wrong once more, which is told once more.
        (setq smtps-real-answers (list wrong)
              smtps-real-told nil)
        (smtps-answer)
        (smtps-real-until (smtps-real-told-p "refused the login"))
        (smtps-secrets-test-search user secret)
        (setq smtps-real-answers (list secret))
        (smtps-answer)
        (smtps-real-until (not (smtps-secrets-test-unsent-p)))
        (smtps-real-until (smtps-credentials-unsaved-p))
        (cl-letf (((symbol-function 'auth-source-read-char-choice)
                   (lambda (&rest _) (push t asked) ?y)))
          (smtps-answer))
        (should (equal asked '(t)))
        (should (string-match-p (format "machine localhost login %s port %d password "
                                        (regexp-quote user) (smtps-real-property :port))
                                (smtps-real-file ".authinfo")))
        (smtps-secrets-test-search user secret)))))

(ert-deftest smtps-secrets-test-checking ()
  (smtps-secrets-test-with
    (smtps-helper-call 'hello '(:version "0.1.0" :wire 1))
    (smtps-real-until (smtps-helper-live-p))
    (dolist (mechanism (smtps-secrets-test-share secret))
      (dolist (right '(t nil))
        (setf (plist-get (cdar smtps-accounts) :mechanisms) (list mechanism))
        (smtps-credentials-forget-all)
        (setq smtps-real-answers
              (list (if right secret (smtps-secrets-test-wrong-for mechanism))))
        (with-current-buffer (smtps-check "sandbox")
          ;; While it runs, in the process list, too.
          (smtps-secrets-test-search user secret)
          (smtps-real-until (not (equal mode-line-process ":runs")))
          (should (string-search (if right "was accepted by" "refused the login")
                                 (buffer-string)))
          (smtps-secrets-test-search user secret))))))

;;; By hand

(defconst smtps-secrets-test-read-passwd (symbol-function 'read-passwd)
  "The real function, since here it is typed.")

(defun smtps-secrets-test-keys (&rest keys)
  "Type KEYS, texts and vectors; the last text is pasted if it is that long."
  (let* ((text (car (last keys)))
         (long (> (length text) 200))
         (kill-ring (list text))
         (kill-ring-yank-pointer kill-ring)
         (interprogram-paste-function nil))
    (execute-kbd-macro (vconcat (apply #'vconcat (if long (butlast keys) keys))
                                (and long (kbd "C-y"))
                                (kbd "RET")))))

(defun smtps-secrets-test-say (line answer)
  "Type LINE and RET, and wait for a new reply that matches ANSWER."
  (let ((from (1- smtps-session--prompt-start)))
    (smtps-secrets-test-keys line)
    (smtps-secrets-test-reply from answer)))

(defun smtps-secrets-test-type-base64 (answer &rest texts)
  "Type TEXTS to the questions of C-c C-b, and wait for a reply like ANSWER."
  (let ((from (1- smtps-session--prompt-start)))
    (apply #'smtps-secrets-test-keys (kbd "C-c C-b")
           (cons (car texts)
                 (mapcan (lambda (text) (list (kbd "RET") text)) (cdr texts))))
    (smtps-secrets-test-reply from answer)))

(defun smtps-secrets-test-reply (from answer)
  "Wait for a reply behind FROM that matches ANSWER, and until nothing is owed."
  (smtps-real-until (save-excursion
                      (goto-char from)
                      (re-search-forward (concat "^recv> " answer) nil t)))
  (smtps-real-until (= smtps-session--owed 0)))

(defun smtps-secrets-test-by-password (user secret reply)
  "Log in as USER with SECRET, until REPLY, by the mechanisms that send it."
  (smtps-secrets-test-say
   (concat "AUTH PLAIN " (smtps-secrets-test-base64 (concat "\0" user "\0" secret))) reply)
  (smtps-secrets-test-again)
  (smtps-secrets-test-say "AUTH PLAIN" "334")
  (smtps-secrets-test-type-base64 reply user secret)
  (smtps-secrets-test-again)
  (smtps-secrets-test-say "AUTH LOGIN" "334")
  (smtps-secrets-test-type-base64 "334" user)
  (smtps-secrets-test-type-base64 reply secret)
  (smtps-secrets-test-again)
  (smtps-secrets-test-say "AUTH LOGIN" "334")
  (smtps-secrets-test-say (smtps-secrets-test-base64 user) "334")
  (smtps-secrets-test-say (smtps-secrets-test-base64 secret) reply)
  (smtps-secrets-test-again))

(defun smtps-secrets-test-by-digest (user secret reply)
  "Log in as USER with SECRET, until REPLY, by CRAM-MD5, worked out by hand."
  (smtps-secrets-test-say "AUTH CRAM-MD5" "334")
  (let ((challenge (save-excursion
                     (goto-char smtps-session--prompt-start)
                     (re-search-backward "^recv> 334 \\(.+\\)")
                     (base64-decode-string (match-string-no-properties 1)))))
    (smtps-secrets-test-type-base64
     reply (concat user " " (mapconcat (lambda (octet) (format "%02x" octet))
                                       (gnutls-hash-mac 'MD5 (encode-coding-string secret 'utf-8)
                                                        challenge)
                                       ""))))
  (smtps-secrets-test-again))

(defun smtps-secrets-test-by-token (user secret reply)
  "Log in as USER with the token SECRET, until REPLY, typed in two ways."
  (pcase-dolist (`(,mechanism . ,blob)
                 `(("XOAUTH2" . ,(format "user=%s\1auth=Bearer %s\1\1" user secret))
                   ("OAUTHBEARER" . ,(format "n,a=%s,\1auth=Bearer %s\1\1" user secret))))
    (dolist (lines `((,(format "AUTH %s %s" mechanism (smtps-secrets-test-base64 blob)))
                     (,(format "AUTH %s" mechanism) ,(smtps-secrets-test-base64 blob))))
      (when (cdr lines)
        (smtps-secrets-test-say (car lines) "334"))
      (smtps-secrets-test-say (car (last lines)) (if (equal reply "535") "334" reply))
      (when (equal reply "535")
        ;; It has told why.
        (smtps-secrets-test-say "AQ==" reply))
      (smtps-secrets-test-again))))

(defun smtps-secrets-test-again ()
  "Connect again if the login was taken, and greet."
  (when (save-excursion
          (goto-char smtps-session--prompt-start)
          (re-search-backward "^recv> [0-9]")
          (looking-at "recv> 235"))
    (smtps-session-quit)
    (smtps-real-until (not (smtps-session--open-p)))
    (smtps-session-reconnect)
    (smtps-real-until (eq smtps-session-state 'greeted))
    (smtps-secrets-test-say "EHLO localhost" "250 ")))

(ert-deftest smtps-secrets-test-by-hand ()
  (smtps-secrets-test-with
    (cl-letf (((symbol-function 'read-passwd) smtps-secrets-test-read-passwd))
      (set-buffer (smtps-session "localhost" (smtps-real-property :port) :tls 'implicit
                                 :ca-file (smtps-real-property :ca-file)))
      (smtps-real-until (string-match-p "^recv> 220" (buffer-string)))
      (smtps-secrets-test-say "EHLO localhost" "250 ")
      (dolist (right '(nil t))
        (let ((reply (if right "235" "535"))
              (mechanisms (smtps-secrets-test-mechanisms secret))
              (given (lambda (mechanism)
                       (if right secret (smtps-secrets-test-wrong-for mechanism)))))
          (smtps-secrets-test-by-password user (funcall given "PLAIN") reply)
          (smtps-secrets-test-by-digest user (funcall given "CRAM-MD5") reply)
          (when (member "XOAUTH2" mechanisms)
            (smtps-secrets-test-by-token user (funcall given "XOAUTH2") reply)))
        (smtps-secrets-test-search user secret))
      ;; Where a proof or a message is due, a person may type the secret itself.
      (dolist (mechanism (smtps-secrets-test-mechanisms secret))
        (unless (member mechanism '("PLAIN" "LOGIN"))
          (smtps-secrets-test-say (concat "AUTH " mechanism) "334")
          (smtps-secrets-test-type-base64 "334\\|535" secret)
          (when (smtps-session--due)
            (smtps-secrets-test-say "*" "501"))))
      (smtps-secrets-test-search user secret)
      (smtps-session-quit)
      (smtps-real-until (not (smtps-session--open-p)))
      (smtps-secrets-test-search user secret))))

;;; In a session, at a key

(defun smtps-secrets-test-log-in (mechanism shown)
  "Have smtps log in by MECHANISM in a new session, and wait for SHOWN."
  (set-buffer (smtps-session "localhost" (smtps-real-property :port) :tls 'implicit
                             :ca-file (smtps-real-property :ca-file)))
  (smtps-real-until (eq smtps-session-state 'greeted))
  (smtps-session-log-in mechanism)
  (smtps-real-until (string-match-p shown (buffer-string)))
  (smtps-real-until (= smtps-session--owed 0))
  ;; What was masked can't be sent again as what stands there.
  (goto-char (point-min))
  (when (re-search-forward "^send> .*<the-.+>" nil t)
    (should-error (smtps-session--old-input) :type 'user-error))
  (goto-char (point-max))
  (smtps-session-quit)
  (smtps-real-until (not (smtps-session--open-p))))

(ert-deftest smtps-secrets-test-at-a-key ()
  (smtps-secrets-test-with
    (dolist (mechanism (smtps-secrets-test-mechanisms secret))
      (smtps-secrets-test-save user secret)
      (smtps-secrets-test-log-in mechanism "^- Logged in by ")
      (smtps-real-authinfo "machine else login u password p")
      (smtps-credentials-forget-all)
      (setq smtps-real-answers (list (smtps-secrets-test-wrong-for mechanism)))
      (smtps-secrets-test-log-in mechanism "^! .+ refused the login")
      (smtps-real-until (null smtps-credentials--memory)))
    (smtps-secrets-test-search user secret)))

;;; In Eshell

(defun smtps-secrets-test-until-prompt (text)
  "Wait until TEXT was said behind the line typed last, and the next is asked for."
  (smtps-eshell-test-until
   (save-excursion
     (goto-char eshell-last-input-end)
     (and (search-forward text nil t)
          (progn (goto-char (point-max))
                 (looking-back "^\\(?:send> \\|.*in base64: \\)" (line-beginning-position)))))))

(defun smtps-secrets-test-eshell-say (line text)
  "Type LINE in the dialogue, and wait for TEXT."
  (smtps-eshell-test-type line)
  (smtps-secrets-test-until-prompt text))

(defun smtps-secrets-test-eshell-login (user secret mechanism text)
  "Type the login of USER with SECRET by MECHANISM, and wait for TEXT."
  (let ((asked (length smtps-real-questions)))
    (pcase mechanism
      ("LOGIN"
       (setq smtps-real-answers (list (smtps-secrets-test-base64 secret)))
       (smtps-secrets-test-eshell-say "auth login" "334 VXNlcm5hbWU6")
       (smtps-secrets-test-eshell-say (smtps-secrets-test-base64 user) text))
      (_
       (setq smtps-real-answers
             (list (smtps-secrets-test-base64
                    (pcase mechanism
                      ("PLAIN" (concat "\0" user "\0" secret))
                      ("OAUTHBEARER" (format "n,a=%s,\1auth=Bearer %s\1\1" user secret))
                      ("XOAUTH2" (format "user=%s\1auth=Bearer %s\1\1" user secret))
                      ;; The secret itself, where a proof of it is due.
                      (_ secret)))
                   ;; What a server has told in a challenge is acknowledged.
                   "AQ=="))
       (smtps-secrets-test-eshell-say (concat "auth " (downcase mechanism)) text)))
    (should (> (length smtps-real-questions) asked))))

(defun smtps-secrets-test-eshell-host ()
  "Return the words that name the sandbox."
  (format "localhost:%d --tls implicit --ca-file '%s'"
          (smtps-real-property :port) (smtps-real-property :ca-file)))

(defun smtps-secrets-test-eshell-send (user mechanism)
  "Send a mail in Eshell as USER by MECHANISM; return what was said."
  (smtps-eshell-test-run
   (format (concat "*echo Subject: x | smtps send -f me@a.test you@a.test"
                   " --host localhost --port %d --ca-file '%s' --user %s --auth %s"
                   " --outbox outbox --transcript transcript-%s --report json")
           (smtps-real-property :port) (smtps-real-property :ca-file)
           user mechanism mechanism)))

(ert-deftest smtps-secrets-test-eshell ()
  (smtps-secrets-test-with
    (smtps-helper-call 'hello '(:version "0.1.0" :wire 1))
    (smtps-real-until (smtps-helper-live-p))
    (smtps-eshell-test-with
      ;; It is in the home, which is searched.
      (eshell/cd smtps-real-home)
      (dolist (mechanism (smtps-secrets-test-share secret))
        (smtps-secrets-test-save user secret)
        (should (string-match-p "\"status\": 0" (smtps-secrets-test-eshell-send user mechanism)))
        (should (smtps-real-file (concat "transcript-" mechanism)))
        ;; Asked for in the minibuffer.
        (smtps-credentials-forget-all)
        (smtps-real-authinfo "machine else login u password p")
        (setq smtps-real-answers (list (smtps-secrets-test-wrong-for mechanism)))
        (should (string-match-p "refused the login"
                                (smtps-eshell-test-run
                                 (format "smtps check %s --user %s --auth %s"
                                         (smtps-secrets-test-eshell-host) user mechanism))))
        (should-not smtps-real-answers)
        (smtps-secrets-test-search user secret))
      (dolist (mechanism (append '("PLAIN" "LOGIN" "CRAM-MD5")
                                 (and (member "XOAUTH2" (smtps-secrets-test-share secret))
                                      smtps-secrets-test-with-token)))
        (smtps-eshell-test-type (concat "smtps " (smtps-secrets-test-eshell-host)))
        (smtps-secrets-test-until-prompt "recv> 220")
        (smtps-secrets-test-eshell-say "ehlo localhost" "recv> 250 SIZE")
        (smtps-secrets-test-eshell-login user (smtps-secrets-test-wrong-for mechanism)
                                         mechanism "recv> 535")
        (smtps-secrets-test-eshell-login
         user secret mechanism (if (equal mechanism "CRAM-MD5") "recv> 535" "recv> 235"))
        (smtps-secrets-test-search user secret)
        (smtps-eshell-test-type "quit")
        (smtps-eshell-test-until (not eshell-current-command)))
      (smtps-secrets-test-search user secret))))

(provide 'smtps-secrets-test)
;;; smtps-secrets-test.el ends here
