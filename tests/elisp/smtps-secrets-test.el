;;; smtps-secrets-test.el --- No password is anywhere but where it was put  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Every mechanism, with good and bad passwords, typed by hand and sent by
;; the outbox.  Afterwards everything that Emacs and the helper have shown
;; or written is searched for the password, in clear and in base64.

;;; Code:

(require 'smtps-real)
(require 'smtps-session)
(require 'smtps-check)

(defconst smtps-secrets-test-logins
  '(("from-address@poste.it" . "secret")
    ("accented@poste.it" . "pässwörd \"quoted\" 100%"))
  "The sandbox's users, and their passwords.")

(defconst smtps-secrets-test-mechanisms '("PLAIN" "LOGIN" "CRAM-MD5" "DIGEST-MD5")
  "The mechanisms that the helper logs in by.")

(defconst smtps-secrets-test-wrong "wröng \"quoted\" 200%"
  "A password that nobody has.")

(defun smtps-secrets-test-forms (user secret)
  "Return the texts that USER's password SECRET could be found as."
  (cl-flet ((base64 (text)
              (base64-encode-string (encode-coding-string text 'utf-8) t)))
    (append
     ;; The word stands in names of ours, too.
     (unless (equal secret "secret")
       (list secret (substring (prin1-to-string secret) 1 -1)
             (car (split-string secret " "))
             (replace-regexp-in-string "[^ -~]" (lambda (c) (format "\\u%04x" (aref c 0)))
                                       secret t t)))
     (list (base64 secret) (base64 (concat "\0" user "\0" secret))
           (base64 (concat user "\0" user "\0" secret))))))

(defun smtps-secrets-test-quoted-p (text)
  "Return non-nil if TEXT has the word secret as a word of its own, quoted."
  (string-match-p "\"secret\"\\|“secret”\\|^send> secret\\|password secret" text))

(defun smtps-secrets-test-places ()
  "Return all places: an alist of names and their texts."
  (append
   (mapcar (lambda (buffer)
             (with-current-buffer buffer
               (cons (buffer-name)
                     (save-restriction
                       (widen)
                       (concat (buffer-substring-no-properties (point-min) (point-max))
                               "\n"
                               (prin1-to-string (and (listp buffer-undo-list)
                                                     buffer-undo-list))
                               "\n"
                               (and (local-variable-p 'comint-input-ring)
                                    (prin1-to-string comint-input-ring)))))))
           (buffer-list))
   (list (cons "told" (string-join smtps-real-told "\n"))
         (cons "kill ring" (prin1-to-string kill-ring))
         (cons "keys" (prin1-to-string (recent-keys)))
         (cons "minibuffer" (prin1-to-string minibuffer-history))
         (cons "commands" (prin1-to-string command-history))
         (cons "memory" (let ((print-circle t) (print-gensym t))
                          (prin1-to-string
                           (list smtps-credentials--memory smtps-send--waiting
                                 smtps-send--told smtps-session--buffers))))
         (cons "process list"
               (mapconcat (lambda (pid)
                            (format "%s" (alist-get 'args (process-attributes pid))))
                          (list-system-processes) "\n")))
   (mapcar (lambda (file)
             (cons file (with-temp-buffer
                          (insert-file-contents file)
                          (buffer-string))))
           (cl-remove-if (lambda (file) (member file auth-sources))
                         (directory-files-recursively smtps-real-home "")))))

(defun smtps-secrets-test-search (user &rest secrets)
  "Fail if one of SECRETS, as USER's password, is found in any place."
  (let ((places (smtps-secrets-test-places)))
    (should (cl-find-if (lambda (place) (string-suffix-p "log*" (car place))) places))
    (dolist (secret secrets)
      (dolist (form (smtps-secrets-test-forms user secret))
        (dolist (place places)
          (when (string-search form (cdr place))
            (ert-fail (list form 'in (car place)))))))
    (dolist (place places)
      (when (smtps-secrets-test-quoted-p (cdr place))
        (ert-fail (list 'secret 'in (car place)))))))

(defmacro smtps-secrets-test-with (&rest body)
  "Evaluate BODY in a world of its own, for each login: USER and SECRET."
  (declare (indent 0) (debug t))
  `(pcase-dolist (`(,user . ,secret) smtps-secrets-test-logins)
     (smtps-real-with
       (let ((kill-ring nil))
         (smtps-secrets-test-no-messages)
         (smtps-real-account :user user :ca-file (smtps-real-property :ca-file))
         ,@body))))

(defun smtps-secrets-test-no-messages ()
  "Erase what was shown so far, and what loading this file has left."
  (dolist (buffer (list (messages-buffer) (get-buffer " *code-conversion-work*")))
    (when buffer
      (with-current-buffer buffer
        (let ((inhibit-read-only t))
          (erase-buffer))))))

;;; The search finds what is there

(ert-deftest smtps-secrets-test-the-search-finds ()
  (smtps-secrets-test-with
    (smtps-helper-call 'hello '(:version "0.1.0" :wire 1))
    (smtps-real-until (smtps-helper-live-p))
    (smtps-secrets-test-search user secret)
    (dolist (form (smtps-secrets-test-forms user secret))
      (with-temp-buffer
        (insert form)
        (should-error (smtps-secrets-test-search user secret) :type 'ert-test-failed))
      (write-region form nil (expand-file-name "file" smtps-real-home) nil 'silent)
      (should-error (smtps-secrets-test-search user secret) :type 'ert-test-failed)
      (delete-file (expand-file-name "file" smtps-real-home))
      (message "%s" form)
      (should-error (smtps-secrets-test-search user secret) :type 'ert-test-failed)
      (smtps-secrets-test-no-messages))))

;;; Sending

(defun smtps-secrets-test-send (mechanism)
  "Send a mail, logging in by MECHANISM, and wait for what becomes of it."
  (setf (plist-get (cdar smtps-accounts) :mechanisms) (list mechanism))
  (setq smtps-real-told nil)
  (smtps-real-send)
  (smtps-real-until (smtps-real-told-p "accepted\\|M-x smtps-answer")))

(ert-deftest smtps-secrets-test-sending ()
  (smtps-secrets-test-with
    (smtps-real-authinfo (format "machine localhost login %s password '%s'" user secret))
    (dolist (mechanism smtps-secrets-test-mechanisms)
      (smtps-secrets-test-send mechanism))
    (should (equal (smtps-real-state)
                   (mapcar (lambda (_) 'sent) smtps-secrets-test-mechanisms)))
    (smtps-secrets-test-search user secret)))

(ert-deftest smtps-secrets-test-sending-with-a-refused-password ()
  "It is forgotten, asked for again in a command, and the good one is offered."
  (dolist (mechanism smtps-secrets-test-mechanisms)
    (smtps-secrets-test-with
      (let ((auth-source-save-behavior 'ask)
            (asked nil))
        (smtps-real-authinfo "machine else login u password p")
        (setq smtps-real-answers (list smtps-secrets-test-wrong))
        (smtps-secrets-test-send mechanism)
        (should (smtps-real-told-p "refused the login.+535.+M-x smtps-answer asks for it anew"))
        (should (equal (smtps-real-state) '(queue)))
        (should-not smtps-credentials--memory)
        (should (equal (length smtps-real-questions) 1))
        ;; Wrong once more, which is told once more.
        (setq smtps-real-answers (list smtps-secrets-test-wrong)
              smtps-real-told nil)
        (smtps-answer)
        (smtps-real-until (smtps-real-told-p "refused the login"))
        (smtps-secrets-test-search user secret smtps-secrets-test-wrong)
        (setq smtps-real-answers (list secret))
        (smtps-answer)
        (smtps-real-until (equal (smtps-real-state) '(sent)))
        (smtps-real-until (smtps-credentials-unsaved-p))
        (smtps-secrets-test-search user secret smtps-secrets-test-wrong)
        (cl-letf (((symbol-function 'auth-source-read-char-choice)
                   (lambda (&rest _) (push t asked) ?y)))
          (smtps-answer))
        (should (equal asked '(t)))
        (should (string-match-p (format "machine localhost login %s port %d password "
                                        (regexp-quote user) (smtps-real-property :port))
                                (smtps-real-file ".authinfo")))
        (smtps-secrets-test-search user secret smtps-secrets-test-wrong)))))

(ert-deftest smtps-secrets-test-checking ()
  (smtps-secrets-test-with
    (dolist (given (list secret smtps-secrets-test-wrong))
      (smtps-credentials-forget-all)
      (setq smtps-real-answers (list given))
      (with-current-buffer (smtps-check "sandbox")
        ;; While it runs, in the process list, too.
        (smtps-helper-call 'hello '(:version "0.1.0" :wire 1))
        (smtps-secrets-test-search user secret smtps-secrets-test-wrong)
        (smtps-real-until (not (equal mode-line-process ":runs")))
        (smtps-secrets-test-search user secret smtps-secrets-test-wrong)))))

;;; By hand

(defconst smtps-secrets-test-read-passwd (symbol-function 'read-passwd)
  "The real function, since here it is typed.")

(defun smtps-secrets-test-say (line answer)
  "Type LINE and RET, and wait for a new reply that matches ANSWER."
  (let ((from (1- smtps-session--prompt-start)))
    (execute-kbd-macro (vconcat line (kbd "RET")))
    (smtps-secrets-test-reply from answer)))

(defun smtps-secrets-test-type-base64 (answer &rest texts)
  "Type TEXTS to the questions of C-c C-b, and wait for a reply like ANSWER."
  (let ((from (1- smtps-session--prompt-start)))
    (execute-kbd-macro
     (apply #'vconcat (kbd "C-c C-b")
            (mapcan (lambda (text) (list text (kbd "RET"))) texts)))
    (smtps-secrets-test-reply from answer)))

(defun smtps-secrets-test-reply (from answer)
  "Wait for a reply behind FROM that matches ANSWER, and until nothing is owed."
  (smtps-real-until (save-excursion
                      (goto-char from)
                      (re-search-forward (concat "^recv> " answer) nil t)))
  (smtps-real-until (= smtps-session--owed 0)))

(defun smtps-secrets-test-login (user secret reply)
  "Log in by each mechanism and way as USER with SECRET, until REPLY."
  (let ((base64 (lambda (text)
                  (base64-encode-string (encode-coding-string text 'utf-8) t))))
    (smtps-secrets-test-say
     (concat "AUTH PLAIN " (funcall base64 (concat "\0" user "\0" secret))) reply)
    (unless (equal reply "535") (smtps-secrets-test-again))
    (smtps-secrets-test-say "AUTH PLAIN" "334")
    (smtps-secrets-test-type-base64 reply user secret)
    (unless (equal reply "535") (smtps-secrets-test-again))
    (smtps-secrets-test-say "AUTH LOGIN" "334")
    (smtps-secrets-test-type-base64 "334" user)
    (smtps-secrets-test-type-base64 reply secret)
    (unless (equal reply "535") (smtps-secrets-test-again))
    (smtps-secrets-test-say "AUTH LOGIN" "334")
    (smtps-secrets-test-say (funcall base64 user) "334")
    (smtps-secrets-test-say (funcall base64 secret) reply)
    (unless (equal reply "535") (smtps-secrets-test-again))))

(defun smtps-secrets-test-again ()
  "Connect again, and greet."
  (when (smtps-session--open-p)
    (smtps-session-quit)
    (smtps-real-until (not (smtps-session--open-p)))
    (smtps-session-reconnect))
  (smtps-real-until (eq smtps-session-state 'greeted))
  (smtps-secrets-test-say "EHLO localhost" "250 "))

(ert-deftest smtps-secrets-test-by-hand ()
  (smtps-secrets-test-with
    (cl-letf (((symbol-function 'read-passwd) smtps-secrets-test-read-passwd))
      (set-buffer (smtps-session "localhost" (smtps-real-property :port) :tls 'implicit
                                 :ca-file (smtps-real-property :ca-file)))
      (smtps-real-until (string-match-p "^recv> 220" (buffer-string)))
      (smtps-secrets-test-say "EHLO localhost" "250 ")
      (smtps-secrets-test-login user smtps-secrets-test-wrong "535")
      ;; Where a digest is due, a person may type the password itself.
      (dolist (mechanism '("CRAM-MD5" "DIGEST-MD5"))
        (smtps-secrets-test-say (concat "AUTH " mechanism) "334")
        (smtps-secrets-test-type-base64 "535" secret))
      (smtps-secrets-test-login user secret "235")
      (smtps-secrets-test-search user secret smtps-secrets-test-wrong)
      (smtps-session-quit)
      (smtps-real-until (not (smtps-session--open-p)))
      (smtps-secrets-test-search user secret smtps-secrets-test-wrong))))

(provide 'smtps-secrets-test)
;;; smtps-secrets-test.el ends here
