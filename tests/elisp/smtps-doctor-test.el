;;; smtps-doctor-test.el --- What is told of the set-up  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-doctor)

(defun smtps-doctor-test-report ()
  "Return the report, once the helper has answered."
  (with-current-buffer (smtps-doctor)
    (smtps-real-until (not (string-search "Helper: starting" (buffer-string))))
    (buffer-string)))

(defmacro smtps-doctor-test-mode (on &rest body)
  "Evaluate BODY with `smtps-mode' ON."
  (declare (indent 1) (debug t))
  `(let ((send-mail-function #'ignore)
         (message-send-mail-function #'ignore))
     (unwind-protect
         (progn (let ((noninteractive t)) (smtps-mode (if ,on 1 -1)))
                ,@body)
       (smtps-mode -1))))

(ert-deftest smtps-doctor-test-all-is-well ()
  (smtps-real-with
    (smtps-doctor-test-mode t
      (smtps-real-account :ca-file (smtps-real-property :ca-file) :from "@poste.it")
      (smtps-real-authinfo (format "machine localhost login %s password %s"
                                   (smtps-real-property :user)
                                   "very-secret-indeed"))
      (smtps-outbox-ready)
      (let ((text (smtps-doctor-test-report)))
        (should-not (string-match-p "^!" text))
        (dolist (part '("\\`smtps 0\\.1\\.0, Emacs [0-9.]+, "
                        "^  Python: 3\\.[0-9.]+ (" "^  Helper: 0\\.1\\.0, wire 1, Python 3"
                        "^  TLS: OpenSSL" "^  Mail goes by smtps"
                        "^  Account sandbox: localhost:[0-9]+, TLS from the first byte, user from-address@poste\\.it, from @poste\\.it$"
                        "^  Passwords: auth-sources is (\".+/\\.authinfo\")"
                        "^  Outbox: .+: 0 queue, 0 held, 0 active, 0 sent, 0 failed$"
                        "^  Pins: none (~/\\.config/smtps/pins)$"))
          (should (string-match-p part text)))
        (should-not (string-search "very-secret" text))
        (should-not smtps-real-questions)))))

(ert-deftest smtps-doctor-test-faults ()
  (smtps-real-with
    (smtps-doctor-test-mode nil
      (setq smtps-accounts '(("a" :host "a.test" :tls none)
                             ("b" :host "b.test" :tls none :send-in-clear t
                              :ca-file "/nonexistent/ca.pem"
                              :password-command "echo very-secret-indeed"))
            auth-sources nil)
      (smtps-outbox-ready)
      (set-file-modes smtps-outbox-directory #o755)
      (make-directory (expand-file-name "failed/20260101T000000-aaaaaaaaaa"
                                        smtps-outbox-directory))
      (make-directory (expand-file-name ".config/smtps" smtps-real-home) t)
      (write-region (concat "# mine\na.test 465 sha256//" (make-string 43 ?A) "=\nnonsense\n")
                    nil (smtps-trust-pins-file) nil 'silent)
      (let ((text (smtps-doctor-test-report)))
        (dolist (part '("^! Mail does not go by smtps: smtps-mode is off\n    -> (smtps-mode 1)"
                        "^! Account \"a\": without TLS.+\n    -> "
                        "^  Account b: b\\.test:25, IN CLEAR"
                        "^!   :ca-file: /nonexistent/ca\\.pem can't be read"
                        "^! Passwords: auth-sources is empty"
                        "^! Outbox: others may have a look at it (755)\n    -> chmod 700 ~/outbox"
                        "^! Outbox: 1 damaged" "^! Outbox: 1 failed"
                        "^  Pins: 1 (" "^! Pins: line 3 is none"))
          (should (string-match-p part text)))
        (should-not (string-search "very-secret" text))))))

(ert-deftest smtps-doctor-test-smtpmail-bypasses-us ()
  (smtps-real-with
    (smtps-doctor-test-mode nil
      (smtps-real-account)
      (setq-default send-mail-function #'smtps-send-it
                    message-send-mail-function #'smtps-send-it)
      (unwind-protect
          (should (string-match-p
                   "^! .+X-Message-SMTP-Method goes by smtpmail\n    -> (smtps-mode 1)"
                   (smtps-doctor-test-report)))
        (setq-default send-mail-function #'ignore
                      message-send-mail-function #'ignore)))))

(ert-deftest smtps-doctor-test-no-helper ()
  (smtps-real-with
    (let ((smtps-helper-command '("/nonexistent/python" "rpc")))
      (smtps-real-account)
      (should (string-match-p "^! Helper: it does not run: .+\n    -> M-x smtps-install-helper"
                              (smtps-doctor-test-report))))))

(provide 'smtps-doctor-test)
;;; smtps-doctor-test.el ends here
