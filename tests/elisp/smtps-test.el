;;; smtps-test.el --- Accounts and the mode  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'wid-edit)
(require 'cus-edit)
(require 'smtps)

(defvar smtpmail-smtp-server)
(defvar smtpmail-smtp-service)
(defvar smtpmail-stream-type)
(defvar smtpmail-smtp-user)
(defvar message-send-mail-function)

(defun smtps-test-account (from accounts)
  "Return the account for FROM among ACCOUNTS."
  (let ((smtps-accounts accounts))
    (smtps-account-for from)))

(defun smtps-test-refused (accounts)
  "Return the sentence with which the only one of ACCOUNTS is refused."
  (let ((smtps-accounts accounts))
    (cadr (should-error (smtps-account-for "a@x.example")
                        :type 'smtps-account-error))))

(ert-deftest smtps-test-loads-nothing-heavy ()
  "The face costs nothing: neither mail nor password libraries come with it."
  (let ((emacs (expand-file-name invocation-name invocation-directory))
        (directory (file-name-directory (locate-library "smtps"))))
    (with-temp-buffer
      (should (zerop (call-process emacs nil t nil "-Q" "--batch" "-L" directory
                                   "--eval" "(require 'smtps)" "--eval"
                                   "(prin1 (cl-remove-if-not #'featurep \
'(auth-source message sendmail comint smtps-wire smtps-rpc)))")))
      (should (equal (buffer-string) "nil")))))

(ert-deftest smtps-test-options-are-there-at-once ()
  "What is bound around the first mail counts for it."
  (let ((emacs (expand-file-name invocation-name invocation-directory))
        (directory (file-name-directory (locate-library "smtps"))))
    (with-temp-buffer
      (should (zerop (call-process
                      emacs nil t nil "-Q" "--batch" "-L" directory
                      "--eval" "(require 'smtps)" "--eval"
                      "(prin1 (mapcar #'special-variable-p \
'(smtps-accounts smtps-outbox-directory smtps-helper-command)))"
                      "--eval" "(prin1 (featurep 'smtps-outbox))"
                      "--eval" "(custom-load-symbol 'smtps)"
                      "--eval" "(prin1 (custom-variable-p 'smtps-session-maximum-lines))")))
      (should (string-prefix-p "(t t t)nil(" (buffer-string))))))

(ert-deftest smtps-test-a-misspelt-property ()
  (should (string-match-p "Account \"a\": there is no property :prot\\."
                          (smtps-test-refused '(("a" :host "a.example" :prot 465))))))

(ert-deftest smtps-test-directories-of-the-user ()
  "The helper reads the environment by the same rule."
  (let ((process-environment (copy-sequence process-environment)))
    (dolist (case '((nil . "~/.config/smtps/pins")
                    ("" . "~/.config/smtps/pins")
                    ("relative" . "~/.config/smtps/pins")
                    ("~/x" . "~/.config/smtps/pins")
                    ("/x" . "/x/smtps/pins")))
      (setenv "XDG_CONFIG_HOME" (car case))
      (should (equal (smtps--xdg "XDG_CONFIG_HOME" "~/.config" "pins")
                     (expand-file-name (cdr case)))))))

(ert-deftest smtps-test-account-by-from ()
  (let ((accounts '(("work" :host "smtp.work.example"
                     :from ("me@work.example" "@team.example"))
                    ("home" :host "smtp.home.example"))))
    (dolist (case '(("me@work.example" . "work") ("ME@Work.Example" . "work")
                    ("anyone@team.example" . "work")
                    ("anyone@notteam.example" . "home")
                    ("me@home.example" . "home")))
      (should (equal (plist-get (smtps-test-account (car case) accounts) :name)
                     (cdr case))))))

(ert-deftest smtps-test-account-none-for-from ()
  (let ((smtps-accounts '(("a" :host "a.example" :from "a@a.example")
                          ("b" :host "b.example" :from "b@b.example"))))
    (should (string-match-p
             "for mail from c@c.example"
             (cadr (should-error (smtps-account-for "c@c.example")
                                 :type 'smtps-account-error))))
    ;; The only account is for everybody.
    (should (equal (plist-get (smtps-test-account "c@c.example"
                                                  (list (car smtps-accounts)))
                              :host)
                   "a.example"))))

(ert-deftest smtps-test-account-defaults ()
  (dolist (case '((nil (implicit 465)) ((:port 465) (implicit 465))
                  ((:port 587) (starttls 587)) ((:port 25) (starttls 25))
                  ((:tls starttls) (starttls 587))
                  ((:port 2465) (implicit 2465))
                  ((:tls starttls :port 465) (starttls 465))))
    (let ((account (smtps-test-account
                    "a@x.example" `(("x" :host "x.example" ,@(car case))))))
      (should (equal (list (plist-get account :tls) (plist-get account :port))
                     (cadr case)))))
  (should (equal (plist-get (smtps-test-account
                             "a@x.example"
                             '(("x" :host "localhost" :tls none)))
                            :port)
                 25)))

(ert-deftest smtps-test-account-refusals ()
  (dolist (case '((() . ":host") ((:host "") . ":host") ((:host "a b") . ":host")
                  ((:host "a\nb") . ":host") ((:host "x" :port 0) . ":port")
                  ((:host "x" :port "smtp") . ":port")
                  ((:host "x" :tls ssl) . ":tls")
                  ((:host "x" :tls none) . "could be read")
                  ((:host "x" :user "a\nb") . ":user")
                  ((:host "x" :from ("a" 3)) . ":from")
                  ((:host "x" :mechanisms (PLAIN)) . ":mechanisms")))
    (let ((sentence (smtps-test-refused (list (cons "x" (car case))))))
      (should (string-match-p (cdr case) sentence))
      (should (string-match-p "Nothing was sent\\.\\'" sentence)))))

(ert-deftest smtps-test-account-client-certificate ()
  (dolist (case '((nil nil nil) ("/c.pem" "/c.pem" nil) (("/c.pem") "/c.pem" nil)
                  (("/c.pem" "/k.pem") "/c.pem" "/k.pem")))
    (let ((account (smtps-test-account
                    "a@x.example"
                    `(("x" :host "x.example" :client-certificate ,(car case))))))
      (should (equal (list (plist-get account :client-certificate)
                           (plist-get account :client-key))
                     (cdr case)))))
  (dolist (bad '(("/a" "/b" "/c") ("") (1) 1 ("/a" nil)))
    (should (string-match-p
             ":client-certificate must be"
             (smtps-test-refused `(("x" :host "x.example" :client-certificate ,bad)))))))

(ert-deftest smtps-test-account-in-clear ()
  "Only in so many words."
  (should (plist-get (smtps-test-account
                      "a@x.example"
                      '(("x" :host "x.example" :tls none :send-in-clear t)))
                     :send-in-clear))
  (should (string-match-p "only :send-in-clear t"
                          (smtps-test-refused '(("x" :host "x.example" :tls none)))))
  (dolist (bad '(yes "t" 1 on))
    (should (string-match-p
             ":send-in-clear must be t or nil"
             (smtps-test-refused
              `(("x" :host "x.example" :tls none :send-in-clear ,bad)))))))

(ert-deftest smtps-test-smtpmail-variables ()
  (dolist (case '((ssl 465 "h.example" implicit) (tls 587 "h.example" implicit)
                  (nil 465 "h.example" implicit) (nil "465" "h.example" implicit)
                  (starttls 587 "h.example" starttls)
                  (nil "smtp" "h.example" starttls)
                  (nil 25 "localhost" none) (nil 25 "127.0.0.1" none)
                  (starttls 25 "localhost" starttls)
                  (plain 25 "localhost" none)))
    (pcase-let ((`(,stream ,service ,host ,tls) case))
      (let ((smtpmail-stream-type stream)
            (smtpmail-smtp-service service)
            (smtpmail-smtp-server host)
            (smtpmail-smtp-user "me")
            (smtps-accounts nil))
        (let ((account (smtps-account-for "a@x.example")))
          (should (eq (plist-get account :tls) tls))
          (should (integerp (plist-get account :port)))
          (should (equal (plist-get account :user) "me"))
          (should-not (plist-get account :name)))))))

(ert-deftest smtps-test-no-server-at-all ()
  (let ((smtpmail-smtp-server nil)
        (process-environment (cons "SMTPSERVER" process-environment))
        (smtps-accounts nil))
    (should-error (smtps-account-for "a@x.example")
                  :type 'smtps-account-error)))

(ert-deftest smtps-test-accounts-type ()
  "The option takes what its documentation describes, and nothing else."
  (let ((matches (lambda (value)
                   (widget-apply
                    (widget-convert (get 'smtps-accounts 'custom-type))
                    :match value))))
    (should (funcall matches nil))
    (should (funcall matches '(("x" :host "h" :port 465 :tls implicit
                                :user "u" :from "a@x" :mechanisms ("PLAIN")))))
    (should (funcall matches '(("x" :host "h" :from ("a@x" "@y")))))
    (should-not (funcall matches '(("x" :host "h" :port "465"))))
    (should-not (funcall matches '(("x" :host "h" :tls ssl))))))

(ert-deftest smtps-test-mode-sets-and-restores ()
  (require 'message)
  (require 'sendmail)
  (let ((send-mail-function #'ignore)
        (message-send-mail-function #'identity)
        (message-send-hook nil)
        (after-change-major-mode-hook nil))
    (smtps-mode 1)
    (unwind-protect
        (progn
          (should (eq send-mail-function 'smtps-send-it))
          (should (eq message-send-mail-function 'smtps-send-it))
          (should (memq 'smtps-send-divert message-send-hook))
          (should (memq 'smtps-send-check-recipients message-send-hook))
          (should (memq 'smtps--compose after-change-major-mode-hook))
          (dolist (function (append message-send-hook '(smtps-warm-compose
                                                        smtps-route-show)))
            (should (fboundp function)))
          ;; These `compose-mail' warns of, each time.
          (dolist (hook '(mail-mode-hook mail-send-hook mail-setup-hook
                          mail-citation-hook))
            (should-not (symbol-value hook)))
          ;; Turning it on twice must not forget what was there before.
          (smtps-mode 1))
      (smtps-mode -1))
    (should (eq send-mail-function #'ignore))
    (should (eq message-send-mail-function #'identity))
    (should-not message-send-hook)
    (should-not after-change-major-mode-hook)))

(ert-deftest smtps-test-mode-leaves-a-later-choice-alone ()
  (let ((send-mail-function #'ignore)
        (message-send-mail-function #'identity))
    (smtps-mode 1)
    (setq send-mail-function #'list)
    (smtps-mode -1)
    (should (eq send-mail-function #'list))))

(ert-deftest smtps-test-mode-before-message-is-loaded ()
  "In an init file, message.el comes later, and must get its own default back."
  (let ((emacs (expand-file-name invocation-name invocation-directory))
        (directory (file-name-directory (locate-library "smtps"))))
    (with-temp-buffer
      (should (zerop (call-process
                      emacs nil t nil "-Q" "--batch" "-L" directory
                      "--eval" "(progn (require 'smtps) (smtps-mode 1) \
(require 'message) (prin1 message-send-mail-function) (smtps-mode -1) \
(princ \" \") (prin1 (functionp message-send-mail-function)) \
(prin1 (eq message-send-mail-function 'smtps-send-it)))")))
      (should (equal (buffer-string) "smtps-send-it tnil")))))

(provide 'smtps-test)
;;; smtps-test.el ends here
