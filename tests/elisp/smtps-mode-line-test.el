;;; smtps-mode-line-test.el --- The mode line, and the question at the end  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-mode-line)
(require 'smtps-outbox-ui)

(defmacro smtps-mode-line-test-with (&rest body)
  "Evaluate BODY with the helper, a sandbox, its account and `smtps-mode'."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (let ((global-mode-string '(""))
           (message-send-hook nil)
           (kill-emacs-query-functions nil)
           (send-mail-function #'ignore)
           (smtps-outbox-change-hook nil)
           (smtps-mode-line--seen nil))
       (smtps-real-account :ca-file (smtps-real-property :ca-file))
       (smtps-real-authinfo
        (format "machine localhost login %s password %s"
                (smtps-real-property :user) (smtps-real-property :password)))
       (unwind-protect
           (cl-letf (((symbol-function 'terminal-name) (lambda (&rest _) "tty")))
             (smtps-mode 1)
             (smtps-mode-line-show t)
             ,@body)
         (smtps-mode -1)
         (should-not (cl-find #'smtps-mode-line--look timer-list
                              :key #'timer--function))))))

(defun smtps-mode-line-test-shown ()
  "Return what the mode line has, without its face: in batch there is none."
  (should (member smtps-mode-line--construct global-mode-string))
  (substring-no-properties (or smtps-mode-line--text "")))

(defun smtps-mode-line-test-unreached ()
  "Have the account lead to where nobody listens."
  (smtps-real-account :port 1 :tls 'none :user nil))

(ert-deftest smtps-mode-line-test-comes-and-goes ()
  "What waits is counted, what fails is marked until it is looked at."
  (smtps-mode-line-test-with
    (cl-letf (((symbol-function 'char-displayable-p) #'always))
      (should (equal (smtps-mode-line-test-shown) ""))
      ;; With nothing there, nothing looks.
      (should-not smtps-mode-line--timer)
      (smtps-mode-line-test-unreached)
      (smtps-real-send)
      (smtps-real-send "Another")
      (smtps-real-until (equal (smtps-mode-line-test-shown) " ✉2"))
      (smtps-real-until (smtps-real-told-p "next try"))
      (let ((id (plist-get (car (smtps-outbox-entries '(queue))) :id)))
        (smtps-outbox-move id 'queue 'held)
        (smtps-real-until (equal (smtps-mode-line-test-shown) " ✉1"))
        (rename-file (smtps-outbox--directory "held" id)
                     (smtps-outbox--directory "failed" id))
        (smtps-outbox-changed))
      (smtps-real-until (equal (smtps-mode-line-test-shown) " ✉!"))
      (smtps-attend)
      (should (derived-mode-p 'smtps-outbox-mode))
      (smtps-real-until (equal (smtps-mode-line-test-shown) " ✉1")))))

;; The queue is taken up, and the mode line begun, in the first idle second.
(ert-deftest smtps-mode-line-test-at-once ()
  "Mail that is sent before Emacs was idle for a second is shown, too."
  (smtps-mode-line-test-with
    (smtps-mode-line-show nil)
    (should-not (member smtps-mode-line--construct global-mode-string))
    (smtps-mode-line-test-unreached)
    (smtps-real-send)
    (should (string-match-p "1\\'" (smtps-mode-line-test-shown)))))

(ert-deftest smtps-mode-line-test-empties ()
  "When the last mail is sent, nothing is left in the mode line, nor a timer."
  (smtps-mode-line-test-with
    (smtps-real-send)
    (smtps-real-until (equal (smtps-real-state) '(sent)))
    (smtps-real-until (and (null smtps-mode-line--text)
                           (null smtps-mode-line--timer)))))

(ert-deftest smtps-mode-line-test-answer ()
  "A mail that waits for a password is marked; to see to it is to give one."
  (smtps-mode-line-test-with
    (smtps-real-authinfo "")
    (setq smtps-real-answers '("wrong"))
    (smtps-real-send)
    (smtps-real-until (string-match-p "!" (smtps-mode-line-test-shown)))
    (let ((auth-source-save-behavior nil))
      (setq smtps-real-answers (list (smtps-real-property :password)))
      (smtps-attend)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (smtps-real-until (equal (smtps-mode-line-test-shown) "")))))

(ert-deftest smtps-mode-line-test-quit ()
  "Who quits with mail in flight is asked; to wait is to have it sent."
  (smtps-mode-line-test-with
    (let ((asked nil) (answer ?l))
      (cl-letf (((symbol-function 'read-multiple-choice)
                 (lambda (prompt choices)
                   (push prompt asked)
                   (assq answer choices))))
        (should (run-hook-with-args-until-failure 'kill-emacs-query-functions))
        (should-not asked)
        (smtps-real-send)
        (should (run-hook-with-args-until-failure 'kill-emacs-query-functions))
        (should (equal asked '("A mail is not sent yet.")))
        (should-not (equal (smtps-real-state) '(sent)))
        (setq answer ?w)
        (should (run-hook-with-args-until-failure 'kill-emacs-query-functions))
        (should (equal (smtps-real-state) '(sent)))
        ;; Nobody is there to be asked.
        (smtps-real-send "Another")
        (let ((noninteractive t))
          (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'ignore))
            (should (run-hook-with-args-until-failure
                     'kill-emacs-query-functions))))
        (should (= (length asked) 2))))))

(defmacro smtps-mode-line-test-quitting (choice yes &rest body)
  "Evaluate BODY; who quits chooses CHOICE, and answers YES to what follows.
The questions come into `smtps-real-questions'."
  (declare (indent 2) (debug t))
  `(cl-letf (((symbol-function 'read-multiple-choice)
              (lambda (prompt choices)
                (push prompt smtps-real-questions)
                (assq ,choice choices)))
             ((symbol-function 'yes-or-no-p)
              (lambda (prompt)
                (push prompt smtps-real-questions)
                ,yes)))
     ,@body))

(ert-deftest smtps-mode-line-test-quit-later ()
  "What goes within a minute keeps Emacs, whatever it waits for; else not."
  (smtps-mode-line-test-with
    (smtps-mode-line-test-unreached)
    (smtps-real-send)
    (smtps-real-until (smtps-real-told-p "next try"))
    (smtps-mode-line-test-quitting ?l nil
      (let ((outcome (plist-get (car (smtps-outbox-entries)) :outcome)))
        (dolist (case '((30 . 1) (600 . 0)))
          (setq smtps-real-questions nil)
          (cl-letf* ((read (symbol-function 'smtps-outbox-read))
                     (next (+ (car case) (time-convert nil 'integer)))
                     ((symbol-function 'smtps-outbox-read)
                      (lambda (directory)
                        (let ((entry (funcall read directory)))
                          (plist-put entry :outcome
                                     `(:next ,next ,@outcome))))))
            (should (smtps-send-query-quit))
            (should (= (length smtps-real-questions) (cdr case)))))))))

(ert-deftest smtps-mode-line-test-quit-unsent ()
  "Who waited for a mail that was not sent is told, and asked."
  (smtps-mode-line-test-with
    (smtps-mode-line-test-quitting ?w nil
      (smtps-real-refusing
        (smtps-real-send)
        (should-not (smtps-send-query-quit))
        (should (string-match-p
                 "\\`“Interactive attempt”: It was not sent: .+ refused .+“550 5\\.1\\.1 .+”.*\\.  Quit all the same\\? \\'"
                 (car smtps-real-questions))))
      (smtps-mode-line-test-unreached)
      (smtps-real-send "Deferred")
      (should-not (smtps-send-query-quit))
      (should (string-match-p "\\`“Deferred”: It was not sent: .+ can't be reached"
                              (car smtps-real-questions)))
      (should (equal (sort (smtps-real-state) #'string<) '(failed queue))))))

(defun smtps-mode-line-test-kill ()
  "Send a mail whose end the server never answers, and kill the helper."
  (smtps-real-send)
  (smtps-real-until (cl-some (lambda (process) (process-get process 'ended))
                             (process-list)))
  (signal-process (cl-find "smtps-helper" (process-list) :key #'process-name
                           :test #'string-prefix-p)
                  'SIGKILL)
  (smtps-real-until (not (smtps-helper-live-p))))

(ert-deftest smtps-mode-line-test-killed-helper ()
  "What a killed helper was sending is judged by the next, begun by itself."
  (smtps-mode-line-test-with
    (smtps-real-swallowing
      (smtps-mode-line-test-kill)
      (smtps-real-until (smtps-real-told-p "1 interrupted\\.  The helper is started anew\\.\\'"))
      (smtps-real-until (equal (smtps-real-state) '(failed)))
      (should (smtps-outbox-uncertain-p (car (smtps-outbox-entries))))
      (smtps-real-until (string-match-p "!" (smtps-mode-line-test-shown))))))

(ert-deftest smtps-mode-line-test-killed-again ()
  "A helper that dies again is not started by itself; what it left is seen."
  (smtps-mode-line-test-with
    (smtps-real-swallowing
      (setq smtps-send--revived (current-time))
      (smtps-mode-line-test-kill)
      (smtps-real-until (smtps-real-told-p "M-x smtps-send-queued goes on\\.\\'"))
      (smtps-real-until (string-match-p "!" (smtps-mode-line-test-shown)))
      (should (string-match-p "died" (get-text-property
                                      1 'help-echo smtps-mode-line--text)))
      (smtps-outbox)
      (set-buffer "*smtps outbox*")
      (goto-char (point-min))
      (should (looking-at " broke off .+"))
      (should-error (smtps-outbox-hold) :type 'user-error)
      (smtps-outbox-retry)
      (smtps-real-until (equal (smtps-real-state) '(failed)))
      (should (smtps-outbox-uncertain-p (car (smtps-outbox-entries)))))))

(provide 'smtps-mode-line-test)
;;; smtps-mode-line-test.el ends here
