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
          (smtps-credentials--refused nil)
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

(ert-deftest smtps-credentials-test-two-authors-of-one-account ()
  "Each has a login, whoever wrote last; a refused one is forgotten alone."
  (smtps-credentials-test-with
      '("machine relay.poste.it login a@poste.it password one"
        "machine relay.poste.it login b@poste.it password two")
    (let ((account (smtps-credentials-test-account))
          (passwords (lambda ()
                       (mapcar (lambda (author)
                                 (let ((answer (smtps-credentials-test-answer :from author)))
                                   (if (listp answer) (plist-get answer :password)
                                     answer)))
                               '("a@poste.it" "B@poste.it")))))
      (dolist (author '("a@poste.it" "b@poste.it"))
        (should (smtps-credentials-fetch (append account (list :author author)))))
      (should (equal (funcall passwords) '("one" "two")))
      (smtps-credentials-forget (append account '(:author "a@poste.it")))
      (should (equal (funcall passwords) '(later "two")))
      (should (equal (mapcar (lambda (wanted) (plist-get wanted :author))
                             (smtps-credentials-wanted))
                     '("a@poste.it")))
      (should (smtps-credentials-fetch (car (smtps-credentials-wanted))))
      (should-not (smtps-credentials-wanted))
      (should (equal (funcall passwords) '("one" "two"))))))

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

;;; Passphrases

(defmacro smtps-credentials-test-with-key (head &rest body)
  "Evaluate BODY with an account whose client key begins with HEAD.
The account is `account', the file `key'; typing is `typed'."
  (declare (indent 1) (debug t))
  `(smtps-credentials-test-with '("")
     (let* ((key (make-temp-file "smtps-key" nil nil (concat ,head "\nx\n")))
            (account (smtps-credentials-test-account
                      :client-certificate "/c.pem" :client-key key))
            (asked 0))
       (unwind-protect
           (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'always)
                     ((symbol-function 'read-passwd)
                      (lambda (prompt &rest _)
                        (should (string-match-p "Passphrase of the key" prompt))
                        (cl-incf asked)
                        (copy-sequence "typed"))))
             ,@body)
         (delete-file key)))))

(ert-deftest smtps-credentials-test-passphrase ()
  "It is asked for in a command, given once, and asked for again if refused."
  (smtps-credentials-test-with-key "-----BEGIN ENCRYPTED PRIVATE KEY-----"
    (should (eq (smtps-credentials-answer-passphrase (list :file key)) 'later))
    (should (smtps-credentials-passphrase-wanted-p account))
    (should (smtps-credentials-fetch-passphrase account))
    (should (smtps-credentials-fetch-passphrase account))
    (should (equal asked 1))
    (should (equal (smtps-credentials-answer-passphrase (list :file key))
                   '(:password "typed")))
    (should-not smtps-credentials--passphrases)
    ;; The helper has it.
    (should (smtps-credentials-fetch-passphrase account))
    (should (equal asked 1))
    ;; It was wrong: the helper says so, or asks again.
    (smtps-credentials-passphrase-refused account)
    (should (smtps-credentials-fetch-passphrase account))
    (should (equal asked 2))
    (smtps-credentials-answer-passphrase (list :file key))
    (should (eq (smtps-credentials-answer-passphrase (list :file key)) 'later))
    (should (smtps-credentials-passphrase-wanted-p account))))

(ert-deftest smtps-credentials-test-no-passphrase ()
  (smtps-credentials-test-with-key "-----BEGIN PRIVATE KEY-----"
    (should (smtps-credentials-fetch-passphrase account))
    (should (smtps-credentials-fetch-passphrase (smtps-credentials-test-account)))
    (should (equal asked 0))))

(ert-deftest smtps-credentials-test-the-helper-ends ()
  "Then nothing is left in memory, and what was there is overwritten."
  (smtps-credentials-test-with-key "Proc-Type: 4,ENCRYPTED"
    (write-region "machine relay.poste.it login u port 465 password old\n"
                  nil (car auth-sources) nil 'silent)
    (smtps-credentials-fetch (smtps-credentials-test-account :user "u"))
    (smtps-credentials-fetch-passphrase account)
    (let ((smtps-helper-death-functions nil)
          (secrets (list (symbol-value (cddar smtps-credentials--memory))
                         (symbol-value (cdar smtps-credentials--passphrases)))))
      (cl-letf (((symbol-function 'smtps-helper-serve) #'ignore))
        (smtps-credentials-serve))
      (run-hook-with-args 'smtps-helper-death-functions "It has ended")
      (should-not smtps-credentials--memory)
      (should-not smtps-credentials--passphrases)
      (should (equal secrets '("\0\0\0" "\0\0\0\0\0"))))))

;;; Commands that take too long, and entries sought

(ert-deftest smtps-credentials-test-password-command-hangs ()
  (smtps-credentials-test-with '("")
    (let ((smtps-credentials--command-seconds 0.3))
      (should (string-match-p
               "did not end within 0 seconds"
               (cadr (should-error
                      (smtps-credentials-fetch
                       (smtps-credentials-test-account
                        :user "u" :password-command "sleep 20"))
                      :type 'smtps-credentials-error)))))
    (should-not (cl-find "smtps-password-command" (process-list)
                         :key #'process-name :test #'string-prefix-p))))

(ert-deftest smtps-credentials-test-password-command-gets-no-input ()
  (smtps-credentials-test-with '("")
    (should (smtps-credentials-fetch
             (smtps-credentials-test-account
              :user "u" :password-command "read x; echo \"<$x>\"")))
    (should (equal (plist-get (smtps-credentials-test-answer :user "u") :password)
                   "<>"))))

(ert-deftest smtps-credentials-test-sought ()
  (should (equal (smtps-credentials-sought (smtps-credentials-test-account :user "u"))
                 "machine relay.poste.it login u port 465 or smtps or submissions or urd"))
  (should (equal (smtps-credentials-sought
                  (smtps-credentials-test-account :port 2525) "me@x")
                 "machine relay.poste.it login me@x port 2525")))

;;; Refused

(ert-deftest smtps-credentials-test-refused-is-asked-for ()
  "What a file has and a server refused is not tried again unasked."
  (smtps-credentials-test-with '("machine relay.poste.it login u password old")
    (let ((account (smtps-credentials-test-account :user "u"))
          (answer (lambda ()
                    (plist-get (smtps-credentials-test-answer :user "u")
                               :password)))
          (typed "new") (prompts nil))
      (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'always)
                ((symbol-function 'read-passwd)
                 (lambda (prompt &rest _)
                   (push prompt prompts)
                   (copy-sequence typed))))
        (should (smtps-credentials-fetch account))
        (should-not prompts)
        (smtps-credentials-forget account)
        (should-not (smtps-credentials-at-hand account))
        (should (smtps-credentials-fetch account))
        (should (string-match-p "the known one was refused" (car prompts)))
        (should (equal (funcall answer) "new"))
        ;; Who types nothing wants that one after all.
        (smtps-credentials-forget account)
        (setq typed "")
        (should (smtps-credentials-fetch account))
        (should (equal (funcall answer) "old"))
        (should (length= prompts 2))
        ;; The file was mended.
        (smtps-credentials-forget account)
        (with-temp-file (car auth-sources)
          (insert "machine relay.poste.it login u password mended\n"))
        (should (smtps-credentials-fetch account))
        (should (equal (funcall answer) "mended"))
        (should (length= prompts 2))))))

;;; Saving

(defmacro smtps-credentials-test-saving (lines typed &rest body)
  "Evaluate BODY with an authinfo file of LINES; a person has typed TYPED."
  (declare (indent 2) (debug t))
  `(smtps-credentials-test-with ,lines
     (let ((account (smtps-credentials-test-account :user "u"))
           (auth-source-netrc-cache nil)
           (auth-source-save-behavior 'ask)
           (questions 0))
       (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'always)
                 ((symbol-function 'read-passwd)
                  (lambda (&rest _) (copy-sequence ,typed)))
                 ((symbol-function 'auth-source-read-char-choice)
                  (lambda (&rest _) (cl-incf questions) ?y)))
         (should (smtps-credentials-fetch account))
         ,@body))))

(ert-deftest smtps-credentials-test-saved-once-it-was-accepted ()
  (smtps-credentials-test-saving '("machine else login u password p") "typed"
    (smtps-credentials-save)
    (should (equal questions 0))
    (smtps-credentials-accepted account)
    (should (smtps-credentials-unsaved-p))
    (smtps-credentials-save)
    (smtps-credentials-save)
    (should (equal questions 1))
    (smtps-credentials-forget account)
    (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'ignore))
      (should (smtps-credentials-fetch account)))
    (should (equal (plist-get (smtps-credentials-test-answer :user "u") :password)
                   "typed"))))

(ert-deftest smtps-credentials-test-not-saved-in-batch ()
  (smtps-credentials-test-saving '("") "typed"
    (smtps-credentials-accepted account)
    (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'ignore))
      (smtps-credentials-save))
    (should (equal questions 0))))

(ert-deftest smtps-credentials-test-what-was-looked-up-is-not-saved ()
  (smtps-credentials-test-saving
      '("machine relay.poste.it login u port 465 password p") "typed"
    (smtps-credentials-accepted account)
    (should-not (smtps-credentials-unsaved-p))))

(provide 'smtps-credentials-test)
;;; smtps-credentials-test.el ends here
