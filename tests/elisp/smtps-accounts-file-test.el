;;; smtps-accounts-file-test.el --- Tests of the accounts file in Emacs  -*- lexical-binding: t; -*-

;;; Code:

(require 'smtps-real)
(require 'smtps-accounts-file)

(defvar smtpmail-smtp-server)

(defun smtps-accounts-file-test-write (&rest lines)
  "Write LINES into the accounts file of this test's home."
  (let ((file (smtps-accounts-file)))
    (make-directory (file-name-directory file) t)
    (write-region (concat (string-join lines "\n") "\n") nil file nil 'silent)
    (set-file-modes file #o600)))

(defun smtps-accounts-file-test-refused (function &rest arguments)
  "Return the sentence of the `smtps-account-error' that FUNCTION signals."
  (cadr (should-error (apply function arguments) :type 'smtps-account-error)))

(ert-deftest smtps-accounts-file-test-every-property ()
  (smtps-real-with
    (smtps-accounts-file-test-write
     "[work]" "host = \"relay.example.org\"" "port = 2587" "tls = \"starttls\""
     "user = \"me\"" "from = [\"me@example.org\", \"@lists.example.org\"]"
     "mechanisms = [\"plain\"]" "ca-file = \"ca.pem\""
     "client-certificate = [\"c.pem\", \"k.pem\"]" "password-command = \"pass x\""
     "server-keeps-sent = true"
     "[home]" "host = \"localhost\"" "tls = \"none\"")
    (let ((near (lambda (name)
                  (expand-file-name name (file-name-directory (smtps-accounts-file))))))
      (should (equal (smtps-account-for "me@example.org")
                     (list :name "work" :host "relay.example.org" :port 2587 :tls 'starttls
                           :user "me" :from '("me@example.org" "@lists.example.org")
                           :mechanisms '("PLAIN") :ca-file (funcall near "ca.pem")
                           :client-certificate (funcall near "c.pem")
                           :client-key (funcall near "k.pem")
                           :password-command "pass x" :send-in-clear nil
                           :server-keeps-sent t))))
    (should (equal (plist-get (smtps-account-for "other@example.net") :name) "home"))
    (should (equal (plist-get (smtps-account "home") :port) 25))
    ;; What Emacs has itself goes before, the whole of it.
    (let ((smtps-accounts '(("mine" :host "mine.test"))))
      (should (equal (plist-get (smtps-account-for "me@example.org") :name) "mine")))))

(ert-deftest smtps-accounts-file-test-read-again-when-it-changed ()
  (smtps-real-with
    (smtps-accounts-file-test-write "[a]" "host = \"a.test\"")
    (should (equal (plist-get (smtps-account-for "x@y.z") :host) "a.test"))
    (cl-letf (((symbol-function 'smtps-helper-call)
               (lambda (&rest _) (error "It was asked again"))))
      (should (equal (plist-get (smtps-account-for "x@y.z") :host) "a.test")))
    (smtps-accounts-file-test-write "[longer]" "host = \"longer.test\"")
    (should (equal (plist-get (smtps-account-for "x@y.z") :host) "longer.test"))
    ;; Without the file, the smtpmail variables are the account.
    (delete-file (smtps-accounts-file))
    (let ((smtpmail-smtp-server "smtpmail.test"))
      (should (equal (plist-get (smtps-account-for "x@y.z") :host) "smtpmail.test")))))

(ert-deftest smtps-accounts-file-test-faults ()
  (smtps-real-with
    (smtps-accounts-file-test-write "[a]" "host = relay")
    (should (string-match-p "accounts\\.toml, line 2, column [0-9]+: .+  Nothing was sent\\."
                            (smtps-accounts-file-test-refused #'smtps-account-for "x@y.z")))
    (smtps-accounts-file-test-write "[a]" "hots = \"relay\"")
    (should (string-match-p "line 2, account .a.: there is no property .hots.; did you mean .host."
                            (smtps-accounts-file-test-refused #'smtps-account "a")))
    ;; It names commands that are run: others must not have written it.
    (smtps-accounts-file-test-write "[a]" "host = \"a.test\"")
    (set-file-modes (smtps-accounts-file) #o666)
    (should (string-match-p "can be written by others"
                            (smtps-accounts-file-test-refused #'smtps-account "a")))
    (set-file-modes (smtps-accounts-file) #o600)
    (should (equal (plist-get (smtps-account "a") :host) "a.test"))
    (smtps-accounts-file-test-write "[a]" "host = \"a.test\"" "tls = \"none\"")
    (should (string-match-p "Account \"a\": without TLS"
                            (smtps-accounts-file-test-refused #'smtps-account-for "x@y.z")))
    ;; Without a helper: at the door, with the helper's own sentence.
    (smtps-helper-stop)
    (smtps-accounts-file-test-write "[b]" "host = \"b.test\"")
    (let ((smtps-helper-command '("/nonexistent/python")))
      (should (string-match-p "/nonexistent/python"
                              (smtps-accounts-file-test-refused #'smtps-account "b"))))))

(ert-deftest smtps-accounts-file-test-a-mail-goes-by-it ()
  (smtps-real-with
    (smtps-accounts-file-test-write
     "[sandbox]" "host = \"localhost\""
     (format "port = %d" (smtps-real-property :port))
     (format "user = \"%s\"" (smtps-real-property :user))
     (format "ca-file = \"%s\"" (smtps-real-property :ca-file))
     (format "password-command = \"printf %%s '%s'\"" (smtps-real-property :password)))
    (smtps-real-send "By the file")
    (smtps-real-until (smtps-real-told-p "By the file.+ accepted"))))

(provide 'smtps-accounts-file-test)
;;; smtps-accounts-file-test.el ends here
