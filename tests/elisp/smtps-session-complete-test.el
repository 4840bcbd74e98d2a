;;; smtps-session-complete-test.el --- Tests of completion in a session  -*- lexical-binding: t; -*-

;;; Code:

(require 'smtps-session-fake)
(require 'smtps-session-complete)

(defconst smtps-session-complete-test-offers
  '("PIPELINING" "SIZE 1000" "8BITMIME" "AUTH PLAIN SCRAM-SHA-256" "STARTTLS")
  "What the server of these tests offers.")

(defun smtps-session-complete-test-at (text)
  "Return (CANDIDATES NOT-OFFERED) for TEXT behind the prompt."
  (smtps-session-test-press "C-c C-u")
  (insert text)
  (let ((found (smtps-session-complete)))
    (when found
      (pcase-let ((`(,start ,end ,table . ,plist) found))
        (let* ((all (funcall (plist-get plist :display-sort-function)
                             (all-completions (buffer-substring start end) table)))
               (annotate (plist-get plist :annotation-function)))
          (list (mapcar #'substring-no-properties all)
                (mapcar #'substring-no-properties (seq-filter annotate all))))))))

(ert-deftest smtps-session-complete-test-table ()
  (smtps-session-test-with
    ;; Before EHLO nobody knows what is offered.
    (should (equal (smtps-session-complete-test-at "st") '(("STARTTLS") nil)))
    (smtps-session-test-event 'offers :offers smtps-session-complete-test-offers)
    (pcase-dolist
        (`(,text ,candidates ,absent)
         '(("st" ("STARTTLS") nil)
           ("b" ("BDAT " "BURL ") ("BDAT " "BURL "))
           ("m" ("MAIL FROM:<") nil)
           ("mail fr" ("MAIL FROM:<") nil)
           ("RCPT TO:" ("RCPT TO:<") nil)
           ("auth " ("PLAIN" "SCRAM-SHA-256" "LOGIN" "CRAM-MD5" "DIGEST-MD5" "SCRAM-SHA-1"
                     "SCRAM-SHA-512" "XOAUTH2" "OAUTHBEARER" "EXTERNAL" "ANONYMOUS")
            ("LOGIN" "CRAM-MD5" "DIGEST-MD5" "SCRAM-SHA-1" "SCRAM-SHA-512" "XOAUTH2"
             "OAUTHBEARER" "EXTERNAL" "ANONYMOUS"))
           ("auth sc" ("SCRAM-SHA-256" "SCRAM-SHA-1" "SCRAM-SHA-512")
            ("SCRAM-SHA-1" "SCRAM-SHA-512"))
           ("mail from:<a@b.c> s" ("SIZE=" "SMTPUTF8") ("SMTPUTF8"))
           ("mail from:<a@b.c> size=10 bo" ("BODY=8BITMIME" "BODY=BINARYMIME")
            ("BODY=BINARYMIME"))
           ("rcpt to:<a@b.c> n" ("NOTIFY=NEVER" "NOTIFY=SUCCESS,FAILURE,DELAY")
            ("NOTIFY=NEVER" "NOTIFY=SUCCESS,FAILURE,DELAY"))))
      (ert-info (text)
        (should (equal (smtps-session-complete-test-at text) (list candidates absent)))))
    ;; Neither in an address, nor behind a verb that takes none.
    (dolist (text '("mail from:<a" "ehlo x y" "data "))
      (should-not (smtps-session-complete-test-at text)))))

(ert-deftest smtps-session-complete-test-what-can-be-no-mechanism ()
  (smtps-session-test-with
    (smtps-session-test-event 'offers :offers (list "AUTH PL\e[31mAIN LOGIN \ufffd X\0Y"))
    (should (equal (seq-remove
                    (lambda (name) (string-match-p "\\`[A-Z0-9-]+\\'" name))
                    (car (smtps-session-complete-test-at "auth ")))
                   nil))
    (should (equal (smtps-session-mechanisms) '("LOGIN")))))

(ert-deftest smtps-session-complete-test-by-a-key ()
  (smtps-session-test-with
    (insert "dat")
    (smtps-session-test-press "TAB")
    (should (string-suffix-p "send> DATA" (smtps-session-test-text)))
    (smtps-session-test-press "C-c C-u")
    (insert "mail f")
    (smtps-session-test-press "TAB")
    (should (string-suffix-p "send> MAIL FROM:<" (smtps-session-test-text)))))

(ert-deftest smtps-session-complete-test-nothing-in-a-message-or-a-secret ()
  (smtps-session-test-with
    (smtps-session-test-state 'data nil 0 t)
    (should-not (smtps-session-complete-test-at "mai"))
    (smtps-session-test-state 'authenticating 'password)
    (insert "mai")
    (should-not (smtps-session-complete))))

(provide 'smtps-session-complete-test)
;;; smtps-session-complete-test.el ends here
