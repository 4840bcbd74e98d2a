;;; smtps-outbox-session-test.el --- Tests of going on by hand  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-outbox-ui)
(require 'smtps-outbox-session)

(defconst smtps-outbox-session-test-begin
  "1 recv> 220 hi\n1 send> EHLO me\n1 recv> 250-you\n1 recv> 250 AUTH PLAIN\n\
1 send> AUTH PLAIN <masked>\n"
  "How a dialogue begins.")

(defun smtps-outbox-session-test-failed (more)
  "Return the kind and the command that failed in a dialogue that ends with MORE."
  (let ((failed (smtps-outbox-session--failed
                 (smtps-outbox-session--exchanges
                  (concat smtps-outbox-session-test-begin
                          (mapconcat (lambda (line) (concat "2 " line)) more "\n"))))))
    (list (smtps-outbox-session--kind (car failed)) (car failed) (cadr failed))))

(ert-deftest smtps-outbox-session-test-the-step ()
  (pcase-dolist
      (`(,kind ,command ,code . ,lines)
       '((login "AUTH PLAIN <masked>" 535 "recv> 535 no")
         (login "AUTH LOGIN" 504 "recv> 535 no" "send> AUTH LOGIN" "recv> 504 no")
         (login "AUTH PLAIN <masked>" 535 "send> MAIL FROM:<a@x>"
                "send> RCPT TO:<b@y>" "recv> 535 no" "recv> 530 first" "recv> 503 no")
         (mail "MAIL FROM:<a@x>" 550 "recv> 235 ok" "send> MAIL FROM:<a@x>"
               "recv> 550 no")
         ;; In one flight: what follows a refusal is refused, too.
         (rcpt "RCPT TO:<b@y>" 550 "send> MAIL FROM:<a@x>" "send> RCPT TO:<a@y>"
               "send> RCPT TO:<b@y>" "send> DATA" "recv> 235 ok" "recv> 250 ok"
               "recv> 250-ok" "recv> 250 ok" "recv> 550-no" "recv> 550 no"
               "recv> 554 none")
         (message message 554 "recv> 235 ok" "send> MAIL FROM:<a@x>" "recv> 250 ok"
                  "send> RCPT TO:<a@y>" "recv> 250 ok" "send> DATA" "recv> 354 go"
                  "recv> 554 spam")
         (data "BDAT 10 LAST" 554 "recv> 235 ok" "send> MAIL FROM:<a@x>"
               "recv> 250 ok" "send> RCPT TO:<a@y>" "recv> 250 ok"
               "send> BDAT 10 LAST" "recv> 554 spam")
         ;; It closed instead of answering.
         (rcpt "RCPT TO:<a@y>" nil "recv> 235 ok" "send> MAIL FROM:<a@x>"
               "recv> 250 ok" "send> RCPT TO:<a@y>" "recv> 4no code")))
    (should (equal (smtps-outbox-session-test-failed lines)
                   (list kind command code)))))

(defun smtps-outbox-session-test-text ()
  "Return what is shown."
  (buffer-substring-no-properties (point-min) (point-max)))

(defmacro smtps-outbox-session-test-until (regexp)
  "Wait until REGEXP matches what is shown."
  `(smtps-real-until (string-match-p ,regexp (smtps-outbox-session-test-text))))

(defconst smtps-outbox-session-test-bad
  (concat (make-string 65 ?x) "@other-host.it")
  "An address that the sandbox refuses: its local part is too long.")

(defun smtps-outbox-session-test-authinfo (password)
  "Have PASSWORD for the sandbox."
  (smtps-real-authinfo (format "machine localhost login %s password \"%s\""
                               (smtps-real-property :user) password)))

(defun smtps-outbox-session-test-press (keys)
  "Press KEYS in the outbox, on its first mail."
  (smtps-outbox)
  (goto-char (point-min))
  (should (tabulated-list-get-id))
  (cl-letf (((symbol-function 'yes-or-no-p) #'always))
    (execute-kbd-macro keys))
  (set-buffer (window-buffer)))

(ert-deftest smtps-outbox-session-test-a-refused-recipient ()
  "One got the mail, the other is named again, changed, and gets it by hand."
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file))
    (smtps-outbox-session-test-authinfo (smtps-real-property :password))
    (message-mail (concat "to-address@other-host.it, " smtps-outbox-session-test-bad)
                  "By hand")
    (message-goto-body)
    (insert ".dot\n")
    (message-send)
    (smtps-real-until (equal (smtps-real-state) '(failed)))
    (smtps-outbox-session-test-press "s")
    (smtps-outbox-session-test-until "^- Here it failed\\.  RET names the recipient")
    (let ((text (smtps-outbox-session-test-text)))
      (should (string-match-p "\\`- From the outbox: “By hand”$" text))
      (should (string-match-p "^send> AUTH .*\n\\(?:.*\n\\)*send> MAIL FROM:<from-address@poste.it>"
                              text))
      ;; Together, where one looks.
      (should (string-match-p "^! localhost accepted the message for 1 recipient.*
- 501: .*\n- Next: .*\n- Here it failed" text))
      ;; Who has got it is not named again.
      (should-not (string-match-p "^send> RCPT TO:<to-address" text))
      (should (string-suffix-p (format "\nsend> RCPT TO:<%s>"
                                       smtps-outbox-session-test-bad)
                               text)))
    (execute-kbd-macro (kbd "C-c C-u"))
    (execute-kbd-macro (vconcat "RCPT TO:<other@other-host.it>\r"))
    (smtps-outbox-session-test-until "^recv> 250 RCPT TO:<other@")
    (smtps-real-until (zerop smtps-session--owed))
    (execute-kbd-macro (kbd "C-c C-f"))
    (smtps-outbox-session-test-until "^- localhost accepted the message")
    (should (string-match-p "^send> \\.\\.dot$" (smtps-outbox-session-test-text)))
    (should (= 2 (length (directory-files
                          (expand-file-name "new" (smtps-real-property :maildir))
                          nil "\\`[^.]"))))
    (smtps-outbox-session-test-press "m")
    (smtps-real-until (equal (smtps-real-state) '(sent)))))

(ert-deftest smtps-outbox-session-test-over-an-open-connection ()
  "There is no greeting then, nor a login to be seen."
  (let* ((exchanges (smtps-outbox-session--exchanges
                     "1 send> MAIL FROM:<a@x>\n1 recv> 250 ok\n1 send> RCPT TO:<b@y>\n\
2 recv> 550 no\n"))
         (failed (smtps-outbox-session--failed exchanges)))
    (should (equal failed '("RCPT TO:<b@y>" 550 "550 no")))
    (should (eq (smtps-outbox-session--login 'rcpt exchanges) 'perhaps))))

(ert-deftest smtps-outbox-session-test-what-the-helper-refuses-by-itself ()
  "The server was not asked: what asks it stands at the prompt."
  (smtps-real-with
    (cl-letf (((symbol-function 'smtps-real-refuse)
               (lambda (process text)
                 (process-send-string
                  process (pcase (upcase (substring text 0 4))
                            ("EHLO" "250-relay\r\n250-AUTH PLAIN\r\n250 SIZE 99\r\n")
                            ("AUTH" "235 ok\r\n")
                            (_ "552 5.3.4 too big\r\n"))))))
      (smtps-real-refusing
        (plist-put (cdar smtps-accounts) :user (smtps-real-property :user))
        (smtps-outbox-session-test-authinfo "any")
        (message-mail "to-address@other-host.it" "By hand")
        (message-send)
        (smtps-real-until (equal (smtps-real-state) '(failed)))
        (smtps-outbox-session-test-press "s")
        (smtps-outbox-session-test-until "^- Here smtps itself refused it")
        (let ((text (smtps-outbox-session-test-text)))
          (should (string-match-p "^- Logged in by " text))
          (should (string-match "^! The message has \\([0-9]+\\) octets and " text))
          (should (string-suffix-p (format "\nsend> MAIL FROM:<from-address@poste.it> SIZE=%s"
                                           (match-string 1 text))
                                   text)))
        (execute-kbd-macro (kbd "RET"))
        (smtps-outbox-session-test-until "SIZE=[0-9]+\nrecv> 552 5.3.4 too big")
        ;; A server that takes what is not ASCII has to be told.
        (should (string-suffix-p
                 " SMTPUTF8" (smtps-outbox-session--mail
                              (plist-put (car (smtps-outbox-entries)) :from "ö@poste.it"))))))))

(ert-deftest smtps-outbox-session-test-a-refused-login ()
  "A wrong password: nobody logs in again by it, and the rest is in two keys."
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file))
    (smtps-outbox-session-test-authinfo "wrong")
    (message-mail "to-address@other-host.it" "By hand")
    (message-send)
    (smtps-real-until (smtps-real-told-p "refused the login"))
    ;; What waits for an answer might be sent meanwhile.
    (should-error (smtps-outbox-session-test-press "s") :type 'user-error)
    (smtps-outbox-session-test-press "h")
    (smtps-real-until (equal (smtps-real-state) '(held)))
    (smtps-outbox-session-test-press "s")
    (smtps-outbox-session-test-until "^- Here it failed\\.  C-c C-a logs in")
    (should (string-match-p "\nsend> AUTH [A-Z0-9-]+\\'" (smtps-outbox-session-test-text)))
    (should-not (string-match-p "^recv> 535" (smtps-outbox-session-test-text)))
    (smtps-outbox-session-test-authinfo (smtps-real-property :password))
    (execute-kbd-macro (kbd "C-c C-u C-c C-a"))
    (smtps-outbox-session-test-until "^- Logged in")
    ;; Sender and recipient stand there already.
    (execute-kbd-macro (kbd "C-c C-t RET RET"))
    (smtps-outbox-session-test-until "^- localhost accepted the message for 1 recipient")
    (smtps-outbox-session-test-press "m")
    (smtps-real-until (equal (smtps-real-state) '(sent)))))

(provide 'smtps-outbox-session-test)
;;; smtps-outbox-session-test.el ends here
