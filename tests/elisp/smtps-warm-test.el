;;; smtps-warm-test.el --- A connection opened while a mail is composed  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-warm)

(defvar smtps-warm-test-heard nil
  "What clients sent to the server of the running test, the last line first.")

(defvar smtps-warm-test-connections 0
  "How often somebody connected to the server of the running test.")

(defvar smtps-warm-test-login "235 2.7.0 ok"
  "What the server of the running test answers to AUTH.")

(defun smtps-warm-test-filter (process text)
  "Answer TEXT, whole lines, that came to the server over PROCESS."
  (dolist (line (split-string text "\r\n" t))
    (push line smtps-warm-test-heard)
    (process-send-string
     process
     (pcase (car (split-string line))
       ("EHLO" "250-x\r\n250 AUTH PLAIN\r\n")
       ("AUTH" (concat smtps-warm-test-login "\r\n"))
       ("QUIT" "221 bye\r\n")
       (_ "250 2.0.0 ok\r\n")))))

(defmacro smtps-warm-test-with (&rest body)
  "Evaluate BODY with an account at a server of our own, and its password.
`smtps-mode' is on, and a mail is being composed in the current buffer."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (let* ((smtps-warm-test-heard nil)
            (smtps-warm-test-connections 0)
            (smtps-warm-test-login "235 2.7.0 ok")
            (smtps-warm--called nil)
            (smtps-warm--timer nil)
            (server (make-network-process
                     :name "smtps-warm-test" :server t :host "127.0.0.1"
                     :service t :family 'ipv4 :coding 'binary :noquery t
                     :filter #'smtps-warm-test-filter :sentinel #'ignore
                     :log (lambda (_server process _message)
                            (cl-incf smtps-warm-test-connections)
                            (process-send-string process "220 x\r\n")))))
       (smtps-real-account :host "127.0.0.1" :tls 'none
                           :port (process-contact server :service))
       (smtps-real-authinfo
        (format "machine 127.0.0.1 login %s password %s"
                (smtps-real-property :user) (smtps-real-property :password)))
       (unwind-protect
           (progn
             ;; Nor is the queue taken up meanwhile.
             (let ((noninteractive t)) (smtps-mode 1))
             (message-mail "to-address@other-host.it" "Warm")
             (switch-to-buffer (current-buffer))
             ,@body)
         (when smtps-warm--timer (cancel-timer smtps-warm--timer))
         (smtps-mode -1)
         (delete-process server)))))

(defun smtps-warm-test-pause ()
  "Do as when the writer of a mail pauses; return non-nil if the helper is called."
  (setq smtps-warm--called nil)
  (smtps-warm--paused)
  smtps-warm--called)

(defun smtps-warm-test-wait ()
  "Wait until the helper has done all that it was asked."
  (let ((done nil))
    (smtps-helper-call 'outbox-stop (list :outbox (smtps-outbox--directory))
                       :then (lambda (_) (setq done t)))
    (smtps-real-until done)))

(ert-deftest smtps-warm-test-opens ()
  "A connection is opened and logged in ahead, and the mail goes over it."
  (smtps-warm-test-with
    (should (memq smtps-warm--timer timer-idle-list))
    (should (= 0 smtps-warm-test-connections))
    (should (smtps-warm-test-pause))
    (smtps-real-until (string-prefix-p "AUTH PLAIN" (or (car smtps-warm-test-heard) "")))
    ;; Over and over again, it stays one.
    (dotimes (_ 20) (smtps-warm-test-pause))
    (smtps-warm--paused)
    (should-not smtps-real-questions)
    (smtps-warm-test-wait)
    (should (= 1 smtps-warm-test-connections))))

(ert-deftest smtps-warm-test-the-account-is-the-mails ()
  "The mail itself goes over the connection that was opened ahead."
  (smtps-real-with
    (let ((smtps-warm--called nil)
          (smtps-warm--timer nil)
          (opened nil))
      (smtps-real-account :ca-file (smtps-real-property :ca-file)
                          :mechanisms '("plain") :from "from-address@poste.it")
      (smtps-real-authinfo
       (format "machine localhost login %s password %s"
               (smtps-real-property :user) (smtps-real-property :password)))
      (unwind-protect
          (progn
            (let ((noninteractive t)) (smtps-mode 1))
            (message-mail "to-address@other-host.it" "Warm")
            (switch-to-buffer (current-buffer))
            (smtps-send--listen)
            (smtps-credentials-at-hand (smtps-warm--account))
            (smtps-helper-call
             'warm (list :outbox (smtps-outbox--directory)
                         :account (smtps-outbox-account-form (smtps-warm--account)))
             :then (lambda (value) (setq opened value)))
            (smtps-real-until opened)
            (should (equal opened '(:open t)))
            (message-send)
            (should-not (smtps-warm--composing-p (current-buffer)))
            (smtps-real-until (equal (smtps-real-state) '(sent)))
            ;; So it began with the mail itself.
            (should (string-match-p
                     "\\`[0-9]+ send> MAIL FROM:"
                     (plist-get (alist-get 'transcript
                                           (smtps-outbox-journal
                                            (car (smtps-outbox-entries))))
                                :text))))
        (when smtps-warm--timer (cancel-timer smtps-warm--timer))
        (smtps-mode -1)))))

(ert-deftest smtps-warm-test-asks-nothing ()
  "Where a password would have to be asked for, nothing is opened."
  (smtps-warm-test-with
    (let ((plain auth-sources)
          (encrypted (expand-file-name ".authinfo.gpg" smtps-real-home)))
      (let ((file-name-handler-alist nil))
        (write-region "" nil encrypted nil 'silent))
      (cl-letf (((symbol-function 'insert-file-contents)
                 (lambda (file &rest _)
                   (ert-fail (list "Read" file)))))
        (dolist (sources `((,encrypted) (,encrypted ,@plain)
                           ((:source ,encrypted)) (secrets) ()))
          (setq auth-sources sources)
          (should-not (smtps-warm-test-pause))))
      (setq auth-sources (list (car plain)))
      (smtps-real-authinfo "machine elsewhere login x password y")
      (should-not (smtps-warm-test-pause))
      (setf (plist-get (cdar smtps-accounts) :password-command) "echo secret")
      (should-not (smtps-warm-test-pause))
      (should-not smtps-real-questions)
      (should (= 0 smtps-warm-test-connections)))))

(ert-deftest smtps-warm-test-plain-before-encrypted ()
  "What a plain file has is found though an encrypted one stands behind it."
  (smtps-warm-test-with
    (setq auth-sources (append auth-sources '("~/.authinfo.gpg" "~/.netrc")))
    (should (smtps-warm-test-pause))
    (smtps-real-until (= 1 smtps-warm-test-connections))))

(ert-deftest smtps-warm-test-refused ()
  "A login that was refused is not repeated."
  (smtps-warm-test-with
    (setq smtps-warm-test-login "535 5.7.8 no")
    (smtps-warm-test-pause)
    (smtps-real-until (member "QUIT" smtps-warm-test-heard))
    (dotimes (_ 3) (smtps-warm-test-pause))
    (smtps-warm-test-wait)
    (should (= 1 smtps-warm-test-connections))
    (should (= 1 (cl-count-if (lambda (line) (string-prefix-p "AUTH" line))
                              smtps-warm-test-heard)))))

(ert-deftest smtps-warm-test-only-where-one-writes ()
  "Nothing is opened for a buffer nobody writes in, or with the option off."
  (smtps-warm-test-with
    (let ((buffer (current-buffer)))
      (switch-to-buffer "*elsewhere*")
      (should-not (smtps-warm-test-pause))
      (should smtps-warm--timer)
      (switch-to-buffer buffer)
      (let ((smtps-warm--called (current-time)))
        (smtps-warm--paused))
      (let ((unread-command-events '(?x)))
        ;; A key has come: it is put off.
        (should-not (smtps-warm-test-pause)))
      (kill-all-local-variables)
      (should-not (smtps-warm-test-pause))
      ;; Nothing is composed any more.
      (should-not smtps-warm--timer)
      (let ((smtps-warm-while-composing nil))
        (smtps-warm-compose)
        (should-not smtps-warm--timer))
      (should (= 0 smtps-warm-test-connections)))))

(provide 'smtps-warm-test)
;;; smtps-warm-test.el ends here
