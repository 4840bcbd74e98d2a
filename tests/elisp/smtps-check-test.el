;;; smtps-check-test.el --- What works with a server  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-check)

(defun smtps-check-test-run (&optional what)
  "Check WHAT, by default the account, and return what the buffer says."
  (with-current-buffer (smtps-check (or what "sandbox"))
    (smtps-real-until (not (equal mode-line-process ":runs")))
    (buffer-string)))

(ert-deftest smtps-check-test-all-works ()
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file))
    (smtps-real-authinfo (format "machine localhost login %s port %d password %s"
                                 (smtps-real-property :user)
                                 (smtps-real-property :port)
                                 (smtps-real-property :password)))
    (let ((text (smtps-check-test-run)))
      (dolist (part '("trusted, and it is for localhost" "TLSv1\\.3" "Offers PIPELINING"
                      "from-address@poste\\.it was accepted by"
                      "All of this works with localhost\\.  Nothing was sent\\.\n\\'"))
        (should (string-match-p part text)))
      (should-not (string-search "Password for" text)))
    (should-not smtps-real-questions)))

(ert-deftest smtps-check-test-marks ()
  (cl-letf (((symbol-function 'char-displayable-p) #'always))
    (should (equal-including-properties
             (smtps-check--shown "✓ TLS\r\n")
             (concat (propertize "✓" 'face 'success) " TLS\n"))))
  (cl-letf (((symbol-function 'char-displayable-p) #'ignore))
    (should (equal (smtps-check--shown "- a ✗\n✗ Login: no\n✓ TLS")
                   "- a ✗\nNO Login: no\nok TLS"))))

(ert-deftest smtps-check-test-asks-before-it-starts ()
  "A password that only a person knows is given to the program's own question."
  (dolist (case '(("from-address@poste.it" . "secret")
                  ("accented@poste.it" . "pässwörd \"quoted\" 100%")))
    (smtps-real-with
      (smtps-real-account :ca-file (smtps-real-property :ca-file) :user (car case))
      (setq smtps-real-answers (list (cdr case)))
      (let ((text (smtps-check-test-run)))
        (should (string-match-p "was accepted by" text))
        (should (string-match-p "M-x smtps-answer can save the password" text))
        (should-not (string-search (cdr case) text)))
      (should (= (length smtps-real-questions) 1))
      (should (smtps-credentials-unsaved-p)))))

(ert-deftest smtps-check-test-wrong-password ()
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file))
    (setq smtps-real-answers '("not the right one"))
    (let ((text (smtps-check-test-run)))
      (should (string-match-p "535" text))
      (should (string-match-p "This does not work with localhost (status 77)" text))
      (should-not (string-search "not the right one" text)))
    (should-not (smtps-credentials-unsaved-p))))

(ert-deftest smtps-check-test-no-password ()
  "What can be told without it is told."
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file))
    (setq smtps-real-answers '(""))
    (let ((text (smtps-check-test-run)))
      (should (string-match-p
               (format "\\`No password was found (machine localhost login \
from-address@poste.it port %d)" (smtps-real-property :port))
               text))
      (should (string-match-p "Offers AUTH" text)))))

(ert-deftest smtps-check-test-untrusted ()
  (smtps-real-with
    (smtps-real-account :user nil)
    (let ((text (smtps-check-test-run)))
      (should (string-match-p "NOT trusted" text))
      (should (string-match-p "(status 77)" text)))))

(ert-deftest smtps-check-test-password-command ()
  (smtps-real-with
    (smtps-real-account :ca-file (smtps-real-property :ca-file)
                        :password-command "printf 'secret\\n'")
    (should (string-match-p "was accepted by" (smtps-check-test-run)))))

(ert-deftest smtps-check-test-starttls-and-hosts ()
  (smtps-real-with
    (should (string-match-p
             "trusted, and it is for localhost"
             (smtps-check-test-run
              (list :host "localhost" :tls 'starttls
                    :port (smtps-real-property :starttls-port)
                    :ca-file (smtps-real-property :ca-file)))))
    (should (equal (plist-get (smtps-check--account-of "mx.test:587") :tls) 'starttls))
    (should (equal (plist-get (smtps-check--account-of "mx.test") :port) 465))
    (should (equal (plist-get (smtps-check--account-of "[::1]:587") :host) "::1"))
    (should-error (smtps-check "no host") :type 'user-error)))

(ert-deftest smtps-check-test-asks-how-tls-begins ()
  (smtps-real-with
    (smtps-real-account :tls 'implicit)
    (cl-flet ((read (&rest answers)
                (setq smtps-real-answers answers)
                (smtps-check--read)))
      (let ((port (smtps-real-property :starttls-port)))
        (should (equal (plist-get (read (format "localhost:%d" port) "starttls") :tls)
                       'starttls)))
      ;; Of an account, and at a port that tells, it is known.
      (should (equal (read "sandbox") "sandbox"))
      (should (stringp (read (format "localhost:%d" (smtps-real-property :port)))))
      (should (equal (read "mx.test:587") "mx.test:587")))))

(ert-deftest smtps-check-test-no-secret-in-the-words ()
  (let ((words (smtps-check--words
                '(:host "mx.test" :port 465 :tls implicit :mechanisms ("PLAIN" "LOGIN")
                        :client-certificate "/c.pem" :client-key "/k.pem" :send-in-clear t)
                "u")))
    (should (equal (cdr (member "check" words))
                   '("--host" "mx.test" "--port" "465" "--tls" "implicit"
                     "--client-certificate" "/c.pem" "--client-key" "/k.pem"
                     "--send-in-clear" "--user" "u" "--auth" "PLAIN,LOGIN")))))

(ert-deftest smtps-check-test-only-its-own-question-is-answered ()
  "A server can't write a line that does not end, and none in the middle counts."
  (let ((given nil))
    (cl-letf (((symbol-function 'smtps-credentials-tell-password)
               (lambda (&rest _) (push t given) t))
              ((symbol-function 'process-send-eof) #'ignore))
      (with-temp-buffer
        (let ((process (make-pipe-process :name "check" :buffer (current-buffer)
                                          :noquery t)))
          (unwind-protect
              (progn
                (setq smtps-check--account '(:host "h" :port 465)
                      smtps-check--login "u"
                      smtps-check--tail (point-min-marker))
                (smtps-check--filter process "- Password for u at h: ")
                (smtps-check--filter process "\r\nEnter your mail password: ")
                (smtps-check--filter process "\r\n Password for u at h: ")
                (smtps-check--filter process "\r\nPassword for u at h: \r\n")
                (should-not given)
                (smtps-check--filter process "Password for ")
                (smtps-check--filter process "u at h: ")
                (should (equal given '(t))))
            (delete-process process)))))))

(provide 'smtps-check-test)
;;; smtps-check-test.el ends here
