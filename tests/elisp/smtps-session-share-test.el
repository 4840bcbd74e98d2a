;;; smtps-session-share-test.el --- Tests of commands that do the same  -*- lexical-binding: t; -*-

;;; Commentary:

;; By keys, in a session whose helper only listens; and with a real one, that
;; no secret leaks in what is made of a session.

;;; Code:

(require 'smtps-real)
(require 'smtps-session-fake)
(require 'smtps-session-share)
(require 'smtps-session-report)

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
  (smtps-session-test-played '("mx.test:587" nil :ca-file "/tmp/a b.pem")
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

(ert-deftest smtps-session-share-test-what-stands-in-quotes-is-no-end ()
  (smtps-session-test-played '("mx.test:465")
      '("recv> 220 x" "send> mail from:<\"a >\\\\\\\" b\"@c> SIZE=3" "recv> 250 ok"
        "send> rcpt to:<\"a b\"@c> NOTIFY=NEVER" "recv> 250 ok"
        "send> rcpt to:<d.\"e f\"@c>" "recv> 250 ok")
    (should (string-suffix-p
             "-f '\"a >\\\\\\\" b\"@c' -- '\"a b\"@c' 'd.\"e f\"@c' < message.eml"
             (smtps-session-share-test-copy "smtps")))))

(ert-deftest smtps-session-share-test-less-was-done ()
  (smtps-session-test-played '("mx.test") nil
    (should (equal (smtps-session-share-test-copy "smtps")
                   "smtps session --host mx.test --port 465 --tls implicit")))
  (smtps-session-test-played '("[::1]:465") '("recv> 220 x" "send> EHLO x")
    (should (equal (smtps-session-share-test-copy "smtps")
                   "smtps session --host ::1 --port 465 --tls implicit"))
    (should (string-suffix-p "--tls-on-connect --tls-verify --quit-after FIRST-HELO"
                             (smtps-session-share-test-copy "swaks")))
    (should (string-search "-connect '[::1]:465' -verify_ip ::1 "
                           (smtps-session-share-test-copy "openssl"))))
  (smtps-session-test-played '("mx.test:25" nil :tls none)
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
  (smtps-session-test-played '("localhost:1" nil :tls none)
      (append smtps-session-share-test-mail '("send> MAIL FROM:<>" "send> RCPT TO:<d@e.f>"))
    (let ((words (split-string-and-unquote
                  (string-remove-suffix " < message.eml"
                                        (smtps-session-share-test-copy "smtps")))))
      (should (member "<>" (mapcar (lambda (word) (string-trim word "'" "'")) words))))))

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
