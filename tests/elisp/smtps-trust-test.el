;;; smtps-trust-test.el --- Certificates that are refused, and what a person says  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The sandbox's certificate is signed by an authority of its own: without
;; its file, it is not trusted.

;;; Code:

(require 'smtps-real)
(require 'smtps-session)
(require 'smtps-trust)
(require 'smtps-check)

(defconst smtps-trust-test-server
  '(:host "Mail.test" :port 465
          :key "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
          :text "The certificate of Mail.test has expired."
          :lines ("- Certificate[0] info:" " - subject 'CN=100%'"))
  "A server to ask about.")

;;; The question

(ert-deftest smtps-trust-test-shows-what-is-asked-about ()
  (let (shown)
    (cl-letf (((symbol-function 'smtps-trust--can-ask-p) #'always)
              ((symbol-function 'completing-read)
               (lambda (prompt words _predicate strict _initial _history default)
                 (should (string-search "Mail.test at port 465" prompt))
                 (should strict)
                 (should (equal words '("reject" "once" "pin")))
                 (setq shown (with-current-buffer (window-buffer)
                               (buffer-string)))
                 default)))
      ;; RET alone rejects.
      (should-not (smtps-trust-ask smtps-trust-test-server)))
    (dolist (text '("has expired" " - subject 'CN=100%'" "  sha256//AAAA"
                    "smtps/pins\n"))
      (should (string-search text shown)))
    ;; The question pins: nobody is to write the line by hand.
    (should-not (string-search "mail.test 465 sha256//AAAA" shown)))
  (should-not (get-buffer "*smtps certificate*")))

(ert-deftest smtps-trust-test-answers ()
  (dolist (case '(("reject" . nil) ("once" . once) ("pin" . pin)))
    (cl-letf (((symbol-function 'smtps-trust--can-ask-p) #'always)
              ((symbol-function 'completing-read) (lambda (&rest _) (car case))))
      (should (eq (smtps-trust-ask smtps-trust-test-server) (cdr case))))))

(ert-deftest smtps-trust-test-a-quit-trusts-nothing ()
  (cl-letf (((symbol-function 'smtps-trust--can-ask-p) #'always)
            ((symbol-function 'completing-read) (lambda (&rest _) (signal 'quit nil))))
    (should (eq 'quit (condition-case nil (smtps-trust-ask smtps-trust-test-server)
                        (quit 'quit)))))
  (should-not (get-buffer "*smtps certificate*")))

(ert-deftest smtps-trust-test-not-in-batch-nor-macros ()
  (cl-letf (((symbol-function 'completing-read) (lambda (&rest _) (ert-fail "asked"))))
    (dolist (state '((t . nil) (nil . "x")))
      (let* ((noninteractive (car state))
             (executing-kbd-macro (cdr state))
             (sentence (cadr (should-error (smtps-trust-ask smtps-trust-test-server)
                                           :type 'smtps-trust-error))))
        (should (string-match-p "pin its key: mail\\.test 465 sha256//AAAA" sentence))))))

;;; In a session

(defun smtps-trust-test-session (&rest properties)
  "Open a session with the sandbox, with PROPERTIES, and wait until it ends."
  (let ((buffer (apply #'smtps-session "localhost" (smtps-real-property :port)
                       :tls 'implicit properties)))
    (set-buffer buffer)
    (smtps-real-until (not (smtps-session--open-p)))
    buffer))

(defun smtps-trust-test-greeted-p ()
  "Return non-nil if the session of this buffer was greeted."
  (string-match-p "^recv> 220" (buffer-string)))

(ert-deftest smtps-trust-test-session-rejected ()
  (smtps-real-with
    (smtps-trust-test-session)
    (should (string-match-p "^- t shows the certificate" (buffer-string)))
    (should-not (string-search "smtps/pins" (buffer-string)))
    (should (eq (key-binding "t") #'smtps-session-trust))
    (setq smtps-real-answers '("reject"))
    (smtps-session-trust)
    (should-not (smtps-session--open-p))
    (should-not (smtps-trust-test-greeted-p))
    (should-not (smtps-real-file ".config/smtps/pins"))
    ;; Nor is it taken later.
    (smtps-session-reconnect)
    (smtps-real-until (not (smtps-session--open-p)))
    (should-not (smtps-trust-test-greeted-p))))

(ert-deftest smtps-trust-test-session-once ()
  (smtps-real-with
    (smtps-trust-test-session)
    (let (shown)
      (setq smtps-real-answers
            (list (lambda ()
                    (setq shown (with-current-buffer "*smtps certificate*"
                                  (buffer-string)))
                    "once")))
      (smtps-session-trust)
      (should (string-match-p "subject.+CN=" shown))
      (should (string-match-p "issuer that is not known" shown)))
    (smtps-real-until (smtps-trust-test-greeted-p))
    (should-not (smtps-real-file ".config/smtps/pins"))
    ;; Until the helper ends.
    (smtps-helper-stop)
    (smtps-real-until (smtps-real-ended-p "smtps-helper"))
    (smtps-trust-test-session)
    (should-not (smtps-trust-test-greeted-p))))

(ert-deftest smtps-trust-test-session-pinned ()
  (smtps-real-with
    (smtps-trust-test-session)
    (setq smtps-real-answers '("pin"))
    (smtps-session-trust)
    (smtps-real-until (smtps-trust-test-greeted-p))
    (should (string-match-p
             (format "^localhost %d sha256//.\\{43\\}=$" (smtps-real-property :port))
             (smtps-real-file ".config/smtps/pins")))
    (smtps-helper-stop)
    (smtps-real-until (smtps-real-ended-p "smtps-helper"))
    (with-current-buffer (smtps-session "localhost" (smtps-real-property :port)
                                        :tls 'implicit)
      (smtps-real-until (smtps-trust-test-greeted-p)))))

(ert-deftest smtps-trust-test-session-starttls-at-a-key ()
  "What a refused certificate ends, it ends whoever says STARTTLS."
  (smtps-real-with
    (set-buffer (smtps-session "localhost" (smtps-real-property :starttls-port)
                               :tls 'starttls))
    (smtps-real-until (smtps-trust-test-greeted-p))
    (execute-kbd-macro (kbd "C-c C-s"))
    (smtps-real-until (not (smtps-session--open-p)))
    (should (string-match-p "^! The certificate of localhost .+No mail and no password was sent"
                            (buffer-string)))
    (should-not (string-match-p "^send> \\(?:EHLO\\|[^EHS]\\)"
                                (substring (buffer-string)
                                           (string-match "^send> STARTTLS" (buffer-string)))))
    (setq smtps-real-answers '("once"))
    (execute-kbd-macro (kbd "t"))
    (smtps-real-until (and smtps-session--number (smtps-trust-test-greeted-p)))
    (smtps-real-until (eq smtps-session-state 'greeted))
    (execute-kbd-macro (kbd "C-c C-s"))
    (smtps-real-until (and smtps-session-tls smtps-session-offers))))

(ert-deftest smtps-trust-test-session-pinned-to-another-key ()
  "That is refused loudly, and is not to be asked away."
  (smtps-real-with
    (make-directory (expand-file-name ".config/smtps" smtps-real-home) t)
    (write-region (format "localhost %d %s\n" (smtps-real-property :port)
                          (plist-get smtps-trust-test-server :key))
                  nil (expand-file-name ".config/smtps/pins" smtps-real-home)
                  nil 'silent)
    (smtps-trust-test-session :ca-file (smtps-real-property :ca-file))
    (should (string-match-p "^! .*SOMEBODY MAY BE IN BETWEEN" (buffer-string)))
    (should-not (string-match-p "^- t shows" (buffer-string)))
    (should-error (smtps-session-trust) :type 'user-error)))

;;; Mail

(ert-deftest smtps-trust-test-mail-rejected-then-once ()
  (smtps-real-with
    (smtps-real-account)
    (smtps-real-authinfo (format "machine localhost login %s password %s"
                                 (smtps-real-property :user)
                                 (smtps-real-property :password)))
    (smtps-real-send "One")
    (smtps-real-until (smtps-real-told-p "\\`“One”: The certificate of localhost.+M-x smtps-answer"))
    (should (equal (smtps-real-state) '(queue)))
    (let ((waiting (smtps-send-waiting)))
      (should (equal (length waiting) 1))
      (should (eq (plist-get (car waiting) :waits) 'trust))
      (should (string-prefix-p "sha256//" (plist-get (car waiting) :key))))
    ;; The second is no news.
    (smtps-real-send "Two")
    (smtps-real-until (= (length (smtps-send-waiting)) 2))
    (should-not (smtps-real-told-p "Two"))
    ;; A filter has asked nothing.
    (should-not smtps-real-questions)
    (setq smtps-real-answers '("reject"))
    (smtps-answer)
    (should (= (length smtps-real-questions) 1))
    (should (string-match-p "\\`Rejected: nothing is sent to localhost.+smtps-answer"
                            (car smtps-real-told)))
    (should (equal (smtps-real-state) '(queue queue)))
    (let (shown)
      (setq smtps-real-answers
            (list (lambda ()
                    (setq shown (with-current-buffer "*smtps certificate*"
                                  (buffer-string)))
                    "once")))
      (smtps-answer)
      (should (string-match-p "subject.+CN=" shown))
      (should (string-match-p "issuer that is not known" shown)))
    (smtps-real-until (equal (smtps-real-state) '(sent sent)))
    (should-not (smtps-real-file ".config/smtps/pins"))
    (should-not (smtps-send-waiting))))

(ert-deftest smtps-trust-test-mail-pinned-in-another-door ()
  "What is trusted by now is sent, not asked about."
  (smtps-real-with
    (smtps-real-account)
    (smtps-real-authinfo (format "machine localhost login %s password %s"
                                 (smtps-real-property :user)
                                 (smtps-real-property :password)))
    (smtps-real-send)
    (let ((server (car (smtps-real-until (smtps-send-waiting)))))
      (make-directory (expand-file-name ".config/smtps" smtps-real-home) t)
      (write-region (format "localhost %d %s\n" (smtps-real-property :port)
                            (plist-get server :key))
                    nil (expand-file-name ".config/smtps/pins" smtps-real-home)
                    nil 'silent))
    (smtps-answer)
    (should-not smtps-real-questions)
    (smtps-real-until (equal (smtps-real-state) '(sent)))))

(ert-deftest smtps-trust-test-mail-in-a-macro ()
  "A macro and a batch Emacs trust nothing."
  (smtps-real-with
    (smtps-real-account)
    (smtps-real-authinfo (format "machine localhost login %s password %s"
                                 (smtps-real-property :user)
                                 (smtps-real-property :password)))
    (smtps-real-send)
    (smtps-real-until (smtps-send-waiting))
    (cl-letf (((symbol-function 'smtps-trust--can-ask-p) #'ignore)
              ((symbol-function 'smtps-credentials--can-ask-p) #'ignore))
      (should (string-match-p
               "Nobody can be asked now whether to trust localhost"
               (cadr (should-error (smtps-answer) :type 'user-error)))))
    (should-not smtps-real-questions)
    (should-not (smtps-real-file ".config/smtps/pins"))
    (should (equal (smtps-real-state) '(queue)))))

(ert-deftest smtps-trust-test-nothing-waits ()
  (smtps-real-with
    (smtps-answer)
    (should (equal smtps-real-told '("No mail waits for an answer")))))

;;; Who logs in, and with what

(ert-deftest smtps-trust-test-the-user-is-in-auth-source ()
  "The sender's entry, else the only one; where there is none, no login."
  (smtps-real-with
    (smtps-real-account :user nil :ca-file (smtps-real-property :ca-file))
    (let ((mine (format "machine localhost login %s port %d password %s"
                        (smtps-real-property :user) (smtps-real-property :port)
                        (smtps-real-property :password))))
      (smtps-real-authinfo "machine localhost login other@poste.it password wrong" mine)
      (smtps-real-send)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (smtps-credentials-forget-all)
      (let ((user-mail-address "another@poste.it"))
        (smtps-real-authinfo mine)
        (smtps-real-send)
        (smtps-real-until (equal (smtps-real-state) '(sent sent)))))
    (should-not smtps-real-questions)))

(ert-deftest smtps-trust-test-a-login-is-wanted-after-all ()
  (smtps-real-with
    (smtps-real-account :user nil :ca-file (smtps-real-property :ca-file))
    (smtps-real-authinfo "machine else login u password p")
    (smtps-real-send)
    (smtps-real-until (smtps-real-told-p "wants a login first.+M-x smtps-answer"))
    (setq smtps-real-answers (list (smtps-real-property :password)))
    (smtps-answer)
    (should (equal smtps-real-questions
                   (list (format "Password of %s at localhost: "
                                 (smtps-real-property :user)))))
    (smtps-real-until (equal (smtps-real-state) '(sent)))))

(ert-deftest smtps-trust-test-no-answer ()
  "A person who gives no password is told which entry was looked for."
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file))
    (smtps-real-authinfo "machine else login u password p")
    (setq smtps-real-answers '("" ""))
    (smtps-real-send)
    (smtps-real-until (smtps-real-told-p "waits in the outbox for a password (localhost): M-x smtps-answer"))
    (smtps-answer)
    (should (equal (car smtps-real-told)
                   (format "No password for localhost: auth-source has no entry “machine \
localhost login %s port %d”."
                           (smtps-real-property :user) (smtps-real-property :port))))
    (should (equal (smtps-real-state) '(queue)))
    ;; The file was mended since.
    (smtps-real-authinfo (format "machine localhost login %s password %s"
                                 (smtps-real-property :user)
                                 (smtps-real-property :password)))
    (smtps-answer)
    (smtps-real-until (equal (smtps-real-state) '(sent)))))

(ert-deftest smtps-trust-test-passphrase ()
  "It is asked for in commands, as passwords are, and a wrong one once more."
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file)
                        :client-certificate (smtps-real-client-key))
    (smtps-real-authinfo (format "machine localhost login %s password %s"
                                 (smtps-real-property :user)
                                 (smtps-real-property :password)))
    (setq smtps-real-answers '("wrong"))
    (smtps-real-send)
    (should (string-match-p "Passphrase of the key ~/key\\.pem" (car smtps-real-questions)))
    (smtps-real-until (smtps-real-told-p "M-x smtps-answer"))
    (should (equal (smtps-real-state) '(queue)))
    (setq smtps-real-answers '("pässphrase"))
    (smtps-answer)
    (smtps-real-until (equal (smtps-real-state) '(sent)))
    (should-not smtps-credentials--passphrases)
    ;; The helper has it for the next mail and for a session.
    (smtps-real-send)
    (smtps-real-until (equal (smtps-real-state) '(sent sent)))
    (with-current-buffer (smtps-session "localhost")
      (smtps-real-until (smtps-trust-test-greeted-p)))
    (should (equal (length smtps-real-questions) 2))
    ;; The program that checks is another one.
    (setq smtps-real-answers '("pässphrase"))
    (with-current-buffer (smtps-check "sandbox")
      (smtps-real-until (equal mode-line-process ":works"))
      (should (string-match-p "was accepted by" (buffer-string)))
      (should-not (string-search "pässphrase" (buffer-string))))
    (should-not smtps-credentials--passphrases)))

(ert-deftest smtps-trust-test-untrusted-with-a-client-key ()
  "A server that would be shown our certificate can't be trusted by its key."
  (smtps-real-with
    (smtps-real-account :client-certificate (smtps-real-client-key))
    (smtps-real-authinfo (format "machine localhost login %s password %s"
                                 (smtps-real-property :user)
                                 (smtps-real-property :password)))
    (setq smtps-real-answers '("pässphrase"))
    (smtps-real-send)
    (smtps-real-until (smtps-real-told-p "a pin does not do: .*:ca-file"))
    ;; It is no fault of the mail's: it waits until that is mended.
    (smtps-real-until (smtps-real-told-p "When that is mended, M-x smtps-answer"))
    (should (equal (smtps-real-state) '(queue)))
    (should (equal (mapcar (lambda (one) (plist-get one :waits))
                           (smtps-send-waiting))
                   '(setup)))
    (should-not smtps-real-answers)))

(ert-deftest smtps-trust-test-a-fault-of-the-set-up ()
  "Mails wait for it to be mended, which is told once, and is asked nothing."
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file))
    (smtps-real-authinfo (format "machine localhost login %s password %s"
                                 (smtps-real-property :user)
                                 (smtps-real-property :password)))
    (let ((pins (expand-file-name ".config/smtps/pins" smtps-real-home)))
      (make-directory (file-name-directory pins) t)
      (write-region "localhost 465\n" nil pins nil 'silent)
      (smtps-real-send)
      (smtps-real-until (smtps-real-told-p "Line 1 of .+ is no pin.+When that is mended"))
      (smtps-real-send)
      (smtps-real-until (length= (smtps-send-waiting) 2))
      (should (equal (smtps-real-state) '(queue queue)))
      (should (equal 1 (cl-count-if (lambda (told) (string-search "is no pin" told))
                                    smtps-real-told)))
      ;; Not mended yet: it is told again, once.
      (smtps-answer)
      (smtps-real-until (length= (smtps-send-waiting) 2))
      (should (equal 2 (cl-count-if (lambda (told) (string-search "is no pin" told))
                                    smtps-real-told)))
      (delete-file pins)
      (smtps-answer)
      (smtps-real-until (equal (smtps-real-state) '(sent sent)))
      (should-not smtps-real-questions))))

(provide 'smtps-trust-test)
;;; smtps-trust-test.el ends here
