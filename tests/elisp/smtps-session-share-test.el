;;; smtps-session-share-test.el --- Tests of commands and reports  -*- lexical-binding: t; -*-

;;; Commentary:

;; By keys, in a session whose helper only listens; and with a real one, that
;; no secret leaks.

;;; Code:

(require 'smtps-real)
(require 'smtps-session-fake)
(require 'smtps-session-share)

(defun smtps-session-share-test-play (&rest lines)
  "Let LINES, a greeting and what follows it, happen in this session."
  (dolist (line lines)
    (if (string-match "\\`\\(recv\\|send\\)> ?\\(.*\\)" line)
        (smtps-session-test-event (intern (match-string 1 line)) :verb 'noop :at 7 :led t
                                  :text (match-string 2 line))
      (smtps-session-test-event 'info :text line))))

(defmacro smtps-session-share-test-with (arguments lines &rest body)
  "Run BODY in a session opened with ARGUMENTS, in which LINES happened."
  (declare (indent 2) (debug t))
  `(smtps-session-test-with-helper
     (with-current-buffer (apply #'smtps-session ,arguments)
       (apply #'smtps-session-share-test-play ,lines)
       ,@body)))

(defun smtps-session-share-test-copy (program)
  "Copy as a command of PROGRAM, by keys, and return that."
  (execute-kbd-macro (vconcat (kbd "C-c C-w") program (kbd "RET")))
  (current-kill 0))

(defconst smtps-session-share-test-mail
  '("recv> 220 mx.test ESMTP" "send> STARTTLS" "recv> 220 go"
    "send> AUTH PLAIN <the-encoded-auth-credentials>" "recv> 235 ok"
    "send> MAIL FROM:<old@b.c>" "recv> 250 ok" "send> RCPT TO:<old@e.f>" "recv> 250 ok"
    "send> RSET" "recv> 250 ok"
    "send> MAIL FROM:<a@b.c> SIZE=9" "recv> 250 ok" "send> RCPT TO:<d@e.f>" "recv> 250 ok"
    "send> rcpt to: <it's@e.f>" "recv> 550 no")
  "A dialogue.")

(ert-deftest smtps-session-share-test-a-mail-by-keys ()
  (smtps-session-share-test-with '("mx.test:587" nil :ca-file "/tmp/a b.pem")
      smtps-session-share-test-mail
    (setq smtps-session-user "me@b.c")
    (should (equal (smtps-session-share-test-copy "smtps")
                   "smtps send --host mx.test --port 587 --tls starttls \
--ca-file '/tmp/a b.pem' --user me@b.c --auth PLAIN -f a@b.c -- d@e.f 'it'\\''s@e.f' \
< message.eml"))
    (should (equal (smtps-session-share-test-copy "swaks")
                   "swaks --server mx.test --port 587 --tls --tls-verify \
--tls-ca-path '/tmp/a b.pem' --auth PLAIN --auth-user me@b.c --from a@b.c \
--to 'd@e.f,it'\\''s@e.f'"))
    (should (equal (smtps-session-share-test-copy "openssl")
                   "openssl s_client -quiet -crlf -connect mx.test:587 -starttls smtp \
-servername mx.test -verify_hostname mx.test -verify_return_error -CAfile '/tmp/a b.pem'"))))

(ert-deftest smtps-session-share-test-less-was-done ()
  (smtps-session-share-test-with '("mx.test") nil
    (should (equal (smtps-session-share-test-copy "smtps")
                   "smtps session --host mx.test --port 465 --tls implicit")))
  (smtps-session-share-test-with '("[::1]:465") '("recv> 220 x" "send> EHLO x")
    (should (equal (smtps-session-share-test-copy "smtps")
                   "smtps session --host ::1 --port 465 --tls implicit"))
    (should (string-suffix-p "--tls-on-connect --tls-verify --quit-after FIRST-HELO"
                             (smtps-session-share-test-copy "swaks")))
    (should (string-search "-connect '[::1]:465' -verify_ip ::1 "
                           (smtps-session-share-test-copy "openssl"))))
  (smtps-session-share-test-with '("mx.test:25" nil :tls none)
      '("recv> 220 x" "send> auth login" "recv> 334 VXNlcm5hbWU6"
        "send> <the-base64-username>")
    (should (equal (smtps-session-share-test-copy "smtps")
                   "smtps check --host mx.test --port 25 --tls none --user USER --auth LOGIN"))
    (should (equal (smtps-session-share-test-copy "swaks")
                   "swaks --server mx.test --port 25 --auth LOGIN --auth-user USER \
--quit-after AUTH"))
    (should-error (smtps-session-copy-as "openssl") :type 'user-error)
    (should-error (smtps-session-copy-as "telnet") :type 'user-error)))

(ert-deftest smtps-session-share-test-our-command-is-one ()
  (smtps-session-share-test-with '("localhost:1" nil :tls none)
      (append smtps-session-share-test-mail '("send> MAIL FROM:<>" "send> RCPT TO:<d@e.f>"))
    (let ((words (split-string-and-unquote
                  (string-remove-suffix " < message.eml"
                                        (smtps-session-share-test-copy "smtps")))))
      (should (member "<>" (mapcar (lambda (word) (string-trim word "'" "'")) words))))))

(defconst smtps-session-share-test-talkative
  (append
   '("Resolving 'mx.secretcorp.com:587'..." "Connecting to '203.0.113.9:587'..."
     "- Certificate[0]:" " - subject 'CN=mx.secretcorp.com,O=Secret Corp'"
     " - SHA-256 fingerprint 00ff00ff" " - public key sha256//abc+/="
     " - valid from 2000-01-01 00:00:00 UTC to 3000-01-01 00:00:00 UTC"
     "- TLS: TLSv1.3, TLS_AES_256_GCM_SHA384 (256 bits), key exchange x25519"
     "recv> 220 mailbox9 ESMTP" "send> EHLO marcosbox" "recv> 250-mail.other.org hello"
     "recv> 250 mailbox9 hello [2001:db8::7]"
     "send> AUTH CRAM-MD5")
   (list (concat "recv> 334 " (base64-encode-string "<17@mx.secretcorp.com>" t)))
   '("send> <the-sasl-response>" "recv> 535 5.7.8 no such user marco.maggi"
     "send> MAIL FROM:<marco.maggi@secretcorp.com>" "recv> 250 2.1.0 Ok"
     "send> RCPT TO:<boss@other.org>" "recv> 250 2.1.5 Ok" "send> DATA" "recv> 354 go"
     "send> Subject: Über the merger" "send>" "send> marco: call." "send> ." "recv> 250 ok"
     "send> vrfy secretary" "recv> 252 perhaps"
     "send> quit" "recv> 221 mx.secretcorp.com bye"))
  "A dialogue in which much can be known.")

(ert-deftest smtps-session-share-test-stand-ins ()
  (smtps-session-share-test-with '("mx.secretcorp.com:587") smtps-session-share-test-talkative
    (insert "half typed")
    (cl-letf (((symbol-function 'y-or-n-p) #'always))
      (execute-kbd-macro (vconcat (kbd "M-x") "smtps-session-report" (kbd "RET"))))
    (with-current-buffer (window-buffer)
      (let ((text (buffer-string)))
        (dolist (word '("secretcorp" "marco" "maggi" "boss" "secretary" "other.org" "203.0" "2001:db8"
                        "mailbox9" "merger" "00ff00" "abc+" "Secret" "half typed"
                        "c2VjcmV0Y29yc"))
          (should-not (string-search word text)))
        ;; It is still one, and the same has the same stand-in.
        (let ((exchanges (plist-get (smtps-session-keep-read text) :exchanges)))
          (should (= (length exchanges) 10))
          (should (equal (plist-get (nth 7 exchanges) :message)
                         '("Subject: éxxx xxx xxxxxx" "" "xxxxx: xxxx."))))
        (should (string-match "^Host: \\(host[0-9]+\\.example\\)$" text))
        (should (string-search (format "recv> 221 %s bye" (match-string 1 text)) text))
        (should (string-match-p "recv> 250-host[0-9]+\\.example hello$" text))
        (should (string-search "valid from 2000-01-01 00:00:00 UTC" text))
        (should (string-match "MAIL FROM:<\\(user[0-9]+\\)@" text))
        (should (string-search (concat "no such user " (match-string 1 text)) text))))))

(ert-deftest smtps-session-share-test-the-report-tells-versions ()
  (smtps-session-share-test-with '("mx.test:587") '("recv> 220 x")
    (cl-letf (((symbol-function 'y-or-n-p) #'ignore))
      (execute-kbd-macro (vconcat (kbd "M-x") "smtps-session-report" (kbd "RET"))))
    (funcall (plist-get (alist-get 'hello smtps-session-test-keys) :then)
             '(:version "0.1.0" :wire 1 :python "3.11.2" :openssl "OpenSSL 3.0"))
    (with-current-buffer (window-buffer)
      (should (string-prefix-p
               (format "Helper: 0.1.0, wire 1, Python 3.11.2\nTLS: OpenSSL 3.0\nEmacs: %s"
                       emacs-version)
               (buffer-string)))
      (should (string-search "\nHost: mx.test\nPort: 587\n" (buffer-string)))
      (should (= (length (plist-get (smtps-session-keep-read (buffer-string)) :exchanges))
                 1)))))

(ert-deftest smtps-session-share-test-no-secret-leaks ()
  (smtps-real-with
    (let* ((password (smtps-real-property :password))
           (base64 (smtps-base64-encode-string password))
           (credentials (smtps-base64-auth-plain (smtps-real-property :user) password)))
      (with-current-buffer
          (smtps-session "localhost" (smtps-real-property :port) :tls 'implicit
                         :ca-file (smtps-real-property :ca-file))
        (cl-flet ((until (regexp)
                    (smtps-real-until
                     (and (zerop smtps-session--owed)
                          (string-match-p regexp (buffer-substring-no-properties
                                                  (point-min) (point-max))))))
                  (type (line)
                    (goto-char (point-max))
                    (insert line)
                    (execute-kbd-macro (kbd "RET"))))
          (until "^recv> 220 ")
          (type "ehlo x")
          (until "^recv> 250 ")
          (type "auth login")
          (until "^recv> 334 VXN")
          (type (smtps-base64-encode-string (smtps-real-property :user)))
          (until "^recv> 334 UGF")
          ;; Wrong, and then once more as a line of its own.
          (type (concat base64 "IQ=="))
          (until "^recv> 5")
          (type base64)
          (until "^recv> 5.*\n\\(?:.*\n\\)*recv> 5")
          (type (concat "auth plain " credentials))
          (until "^recv> 235 "))
        (insert base64)
        (smtps-session-save (expand-file-name "saved" smtps-real-home))
        (kill-new "")
        (dolist (program '("smtps" "swaks" "openssl"))
          (smtps-session-copy-as program))
        (let ((session (current-buffer)))
          (dolist (text (append
                         (list (smtps-real-file "saved"))
                         (seq-take kill-ring 3)
                         (mapcar (lambda (stand-ins)
                                   (with-current-buffer session
                                     (let ((report (smtps-session-report stand-ins)))
                                       (smtps-real-until
                                        (with-current-buffer report
                                          (string-prefix-p "Helper" (buffer-string))))
                                       (with-current-buffer report (buffer-string)))))
                                 '(nil t))))
            (should (string-search "localhost" text))
            (dolist (secret (list base64 credentials))
              (should-not (string-search secret text)))))))))

;;; smtps-session-share-test.el ends here
