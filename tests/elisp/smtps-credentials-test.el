;;; smtps-credentials-test.el --- Who may have the password  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'auth-source)
(require 'smtps-credentials)

(defun smtps-credentials-test-account (&rest plist)
  "Return an account with PLIST before the usual properties."
  (append plist '(:name "poste" :host "relay.poste.it" :port 465 :user nil)))

(defmacro smtps-credentials-test-with (lines &rest body)
  "Evaluate BODY with an authinfo file of LINES and an empty memory."
  (declare (indent 1) (debug t))
  `(let* ((file (make-temp-file "smtps-authinfo" nil nil
                                (mapconcat #'identity ,lines "\n")))
          (auth-sources (list file))
          (auth-source-do-cache t)
          (smtps-credentials--memory nil)
          (smtps-credentials--wanted nil)
          (smtps-credentials--passphrases nil)
          (smtps-credentials--given nil)
          (smtps-credentials--keys-wanted nil))
     (auth-source-forget-all-cached)
     (unwind-protect (progn ,@body)
       (auth-source-forget-all-cached)
       (delete-file file))))

(defun smtps-credentials-test-answer (&rest plist)
  "Return the answer to the helper's call with PLIST before the usual."
  (smtps-credentials-answer
   (append plist '(:account "poste" :host "relay.poste.it" :port 465 :user nil))))

(defun smtps-credentials-test-found (lines account &optional from)
  "Return (LOGIN PASSWORD) that LINES of authinfo have for ACCOUNT and FROM."
  (smtps-credentials-test-with lines
    (and (smtps-credentials-fetch account :from from)
         (let ((answer (smtps-credentials-answer
                        (list :host (plist-get account :host)
                              :port (plist-get account :port)
                              :user (plist-get account :user) :from from))))
           (list (plist-get answer :user) (plist-get answer :password))))))

(ert-deftest smtps-credentials-test-ports-and-services ()
  (dolist (case '((465 "465" t) (465 "smtps" t) (465 "submissions" t)
                  (587 "587" t) (587 "submission" t) (587 "smtp" t)
                  (25 "smtp" t) (2525 "2525" t)
                  ;; The password of the mail that comes in.
                  (465 "imaps" nil) (465 "993" nil) (465 "587" nil)))
    (pcase-let ((`(,port ,written ,found) case))
      (should (eq (and (smtps-credentials-test-found
                        (list (format "machine relay.poste.it login u port %s \
password p" written))
                        (smtps-credentials-test-account :port port :user "u"))
                       t)
                  found)))))

(ert-deftest smtps-credentials-test-the-right-user ()
  (let ((lines '("machine relay.poste.it login other@x port 465 password wrong"
                 "machine relay.poste.it login me@x port 465 password right"
                 "machine relay.poste.it login imap port 993 password imap")))
    ;; The account's own,
    (should (equal (smtps-credentials-test-found
                    lines (smtps-credentials-test-account :user "me@x"))
                   '("me@x" "right")))
    ;; else the sender's,
    (should (equal (smtps-credentials-test-found
                    lines (smtps-credentials-test-account) "me@x")
                   '("me@x" "right")))
    ;; else any, but only if there is no choice.
    (should-not (smtps-credentials-test-found
                 lines (smtps-credentials-test-account) "nobody@x"))
    (should (equal (smtps-credentials-test-found
                    (cdr lines) (smtps-credentials-test-account) "nobody@x")
                   '("me@x" "right")))
    (should-not (smtps-credentials-test-found
                 (cdr lines) (smtps-credentials-test-account :user "nobody@x")))))

(ert-deftest smtps-credentials-test-none-and-unknown ()
  "Without a user, nothing found means no login; with one, a question."
  (smtps-credentials-test-with '("machine else login u password p")
    (should (eq (smtps-credentials-test-answer) 'later))
    (should-not (smtps-credentials-fetch (smtps-credentials-test-account)))
    (should-not (smtps-credentials-test-answer))
    (should-not (smtps-credentials-fetch
                 (smtps-credentials-test-account :user "u")))
    (should (eq (smtps-credentials-test-answer :user "u") 'later))
    (should (equal (mapcar (lambda (account) (plist-get account :user))
                           (smtps-credentials-wanted))
                   '("u")))))

(ert-deftest smtps-credentials-test-a-filter-never-looks ()
  "The helper's call is answered from memory; nothing is looked up for it."
  (smtps-credentials-test-with '("machine relay.poste.it login u port 465 password p")
    (cl-letf (((symbol-function 'auth-source-search)
               (lambda (&rest _) (ert-fail "auth-source was asked in a filter")))
              ((symbol-function 'read-passwd)
               (lambda (&rest _) (ert-fail "a person was asked in a filter"))))
      (should (eq (smtps-credentials-test-answer :user "u") 'later)))))

(ert-deftest smtps-credentials-test-mended-file ()
  "auth-source remembers a miss; a file that was mended since counts."
  (smtps-credentials-test-with '("machine else login u password p")
    (let ((account (smtps-credentials-test-account :user "u")))
      (should-not (smtps-credentials-fetch account))
      (write-region "machine relay.poste.it login u port 465 password new\n"
                    nil (car auth-sources) nil 'silent)
      (should (smtps-credentials-fetch account))
      (should (equal (plist-get (smtps-credentials-test-answer :user "u")
                                :password)
                     "new")))))

(ert-deftest smtps-credentials-test-again-forgets ()
  (smtps-credentials-test-with '("machine relay.poste.it login u port 465 password old")
    (let ((account (smtps-credentials-test-account :user "u")))
      (smtps-credentials-fetch account)
      (let ((secret (cddar smtps-credentials--memory)))
        (should (eq (smtps-credentials-test-answer :user "u" :again t) 'later))
        ;; Nor does the old one stay around.
        (should-not (symbol-value secret)))
      (write-region "machine relay.poste.it login u port 465 password new\n"
                    nil (car auth-sources) nil 'silent)
      (smtps-credentials-fetch account)
      (should (equal (plist-get (smtps-credentials-test-answer :user "u")
                                :password)
                     "new"))
      (should-not (smtps-credentials-wanted)))))

(ert-deftest smtps-credentials-test-never-printed ()
  (smtps-credentials-test-with
      '("machine relay.poste.it login u port 465 password geheim")
    (smtps-credentials-fetch (smtps-credentials-test-account :user "u"))
    (should-not (string-search "geheim"
                               (prin1-to-string smtps-credentials--memory)))
    (let ((print-circle t) (print-gensym t))
      (should-not (string-search "geheim"
                                 (prin1-to-string smtps-credentials--memory))))
    (smtps-credentials-forget-all)
    (should-not smtps-credentials--memory)))

(ert-deftest smtps-credentials-test-password-command ()
  (smtps-credentials-test-with '("machine relay.poste.it login u port 465 password wrong")
    (let ((account (smtps-credentials-test-account
                    :user "u"
                    :password-command "printf 'p\\303\\244ss \"x\"\\n'")))
      (should (smtps-credentials-fetch account))
      (should (equal (plist-get (smtps-credentials-test-answer :user "u")
                                :password)
                     "päss \"x\"")))))

(ert-deftest smtps-credentials-test-password-command-fails ()
  (dolist (command '("echo secret; exit 3" "true" "/nonexistent/command"
                     "printf 'secret\\nmore\\n'"))
    (smtps-credentials-test-with '("")
      (let ((sentence
             (cadr (should-error
                    (smtps-credentials-fetch
                     (smtps-credentials-test-account
                      :user "u" :password-command command))
                    :type 'smtps-credentials-error))))
        (should (string-match-p "password command of poste" sentence))
        (should-not (string-search "secret" sentence))))))

(ert-deftest smtps-credentials-test-asking ()
  "A person is asked where one is there, once, and only in a command."
  (smtps-credentials-test-with '("")
    (let ((asked 0))
      (cl-letf (((symbol-function 'smtps-credentials--can-ask-p)
                 (lambda () t))
                ((symbol-function 'read-passwd)
                 (lambda (prompt &rest _)
                   (should (string-match-p "u at relay" prompt))
                   (cl-incf asked)
                   (copy-sequence "typed"))))
        (let ((account (smtps-credentials-test-account :user "u")))
          (should (smtps-credentials-fetch account))
          (should (smtps-credentials-fetch account))
          (should (eql asked 1))
          (should (equal (smtps-credentials-test-answer :user "u")
                         '(:user "u" :password "typed"))))))))

(ert-deftest smtps-credentials-test-not-in-batch-nor-macros ()
  (smtps-credentials-test-with '("")
    (cl-letf (((symbol-function 'read-passwd)
               (lambda (&rest _) (ert-fail "asked"))))
      (let ((account (smtps-credentials-test-account :user "u")))
        (should-not (smtps-credentials-fetch account :ask t))
        (let ((noninteractive nil) (executing-kbd-macro "x"))
          (should-not (smtps-credentials-fetch account :ask t)))))))

(ert-deftest smtps-credentials-test-quiet-sources ()
  (dolist (case '((("~/.authinfo") . t) (("~/.authinfo" "~/.authinfo.gpg") . nil)
                  (((:source "~/.netrc")) . t) (((:source (:secrets "x"))) . nil)
                  ((default) . nil) ((password-store) . nil)
                  (("/ssh:h:/authinfo") . nil)))
    (let ((auth-sources (car case)))
      (should (eq (and (smtps-credentials--quiet-p) t) (cdr case))))))

(provide 'smtps-credentials-test)
;;; smtps-credentials-test.el ends here
