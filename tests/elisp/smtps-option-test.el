;;; smtps-option-test.el --- Each option with values that it can't have  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-check)
(require 'smtps-outbox-ui)
(require 'smtps-session)
(require 'smtps-undo)
(require 'smtps-warm)

(defconst smtps-option-test-accounts
  '("t" 5 t ("t") (:host "h") (("t" . "x")) (("t" :host "h" . "x")) (("t" :host))
    (("t" :host "h") . "x") ((nil :host "h")) ((("t") :host "h")) (("t" :host 5))
    (("t" :host "h" :from ("a@b" . "c"))) (("t" :host "h" :from 5))
    (("t" :host "h" :from "a b@c")) (("t" :host "h" :from "a@b, c@d"))
    (("t" :host "h" :mechanisms ("A" . "B"))) (("t" :host "h" :user 5))
    (("t" :host "h" :client-certificate ("a" . "b"))) (("t" :host "h" :port "1"))
    (("t" :host "h" :tls "none")) (("t" :host "h" :ca-file 5))
    (("t" (:host "h"))) (("t" "host" "h"))))

(defun smtps-option-test-helper ()
  "Send a mail that has to wait, and tell why."
  (smtps-real-send)
  (let ((told (car smtps-real-told)))
    (should (smtps-outbox-move (plist-get (car (smtps-outbox-entries '(queue))) :id)
                               'queue 'held))
    (signal 'smtps-error (list (cl-find-if (lambda (told)
                                             (string-search "option" told))
                                           (list told (cadr smtps-real-told)))))))

(defconst smtps-option-test-table
  `((smtps-accounts ,smtps-option-test-accounts smtps-real-send)
    (smtps-outbox-directory (nil 5 "" " " ("x") "a\0b")
                            smtps-real-send smtps-outbox smtps-undo-send
                            smtps-send-queued smtps-answer smtps-outbox-wait)
    (smtps-send-delay (nil "5" -3 1e30 0.0e+NaN (5) 100000000000) smtps-real-send)
    (smtps-keep-sent-days ("5" -1 (5) 1e30) smtps-real-send)
    (smtps-refused-recipients (nil "hold" t keep) smtps-real-send)
    (smtps-helper-command ("python3" 5 (5) ("") ("a" . "b") t)
                          smtps-option-test-helper
                          (lambda () (smtps-check "localhost")))
    (smtps-outbox-shown-sent (nil "5" -1 1.5) smtps-outbox)
    (smtps-session-maximum-lines (nil "5" 0 -1 1.5)
                                 (lambda () (smtps-session "localhost"))))
  "Options, values they can't have, and what uses them.")

(defun smtps-option-test-options ()
  "Return our options that are no mere yes or no: all else is a yes in Emacs."
  (let ((found nil))
    (dolist (file (directory-files (file-name-directory (locate-library "smtps"))
                                   t "\\.el\\'"))
      (with-temp-buffer
        (insert-file-contents file)
        (while (re-search-forward "^(defcustom \\(\\S-+\\)" nil t)
          (let ((option (intern (match-string 1))))
            (unless (eq (get option 'custom-type) 'boolean)
              (push option found))))))
    found))

(ert-deftest smtps-option-test-all-are-tried ()
  (should-not (cl-set-exclusive-or (smtps-option-test-options)
                                   (mapcar #'car smtps-option-test-table))))

(ert-deftest smtps-option-test-a-value-that-cannot-be ()
  "The option is named, in a sentence, and nothing is lost or sent."
  (smtps-real-with
    (smtps-real-account)
    (pcase-dolist (`(,option ,values . ,uses) smtps-option-test-table)
      (dolist (value values)
        (dolist (use uses)
          (let ((before (length (smtps-outbox-entries '(queue sent))))
                sentence)
            (cl-progv (list option) (list value)
              (setq sentence
                    (condition-case problem
                        (progn (funcall use) "no error")
                      ((user-error smtps-error) (cadr problem))
                      (error (format "%S" problem))))
              (unless (string-match-p
                       (if (eq option 'smtps-accounts)
                           "\\`\\(?:Account \"t\": \\|The option smtps-accounts must be \\).+  Nothing was sent\\.\\'"
                         (format "The option %s must be .+; it is .+\\." option))
                       (format "%s" sentence))
                (ert-fail (list option value use sentence))))
            (should (equal before (length (smtps-outbox-entries
                                           '(queue sent)))))))))))

(ert-deftest smtps-option-test-other-forms-that-can-be ()
  (let ((smtps-accounts '((work :host "a.example" :from "Me Too <me@b.example>"))))
    (should (equal (plist-get (smtps-account "work") :from) '("me@b.example")))
    (should (equal (plist-get (smtps-account-for "me@b.example") :name) "work")))
  (let ((smtps-send-delay 1.5))
    (should (eql (smtps-option 'smtps-send-delay) 1.5))))

(provide 'smtps-option-test)
;;; smtps-option-test.el ends here
