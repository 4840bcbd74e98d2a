;;; smtps-untold-test.el --- What is told of mail later  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps)
(require 'smtps-untold)

(defvar smtps-untold-test-told nil
  "The sentences that were told, last first.")

(defun smtps-untold-test-put (state verdict text &optional told)
  "Put a mail with VERDICT and TEXT into STATE, and return its id.
Nobody was told of that, unless TOLD."
  (let ((id (with-temp-buffer
              (set-buffer-multibyte nil)
              (insert "Subject: About it\n\nText.\n")
              (smtps-outbox-put '(:account (:host "relay.poste.it" :port 465 :tls implicit)
                                  :from "f@x.example" :recipients ("a@x.example")
                                  :message-id "<1@x.example>")
                                nil nil (not told)))))
    (write-region
     (concat (smtps-wire-print `(result :attempt 1 :recipient 0 :verdict ,verdict)) "\n"
             (smtps-wire-print `(outcome :attempt 1 :verdict ,verdict :text ,text)) "\n")
     nil (smtps-outbox--directory "queue" id "journal.sexp") nil 'silent)
    (unless (equal state "queue")
      (rename-file (smtps-outbox--directory "queue" id) (smtps-outbox--directory state id)))
    id))

(defmacro smtps-untold-test-with (&rest body)
  "Evaluate BODY with an outbox of its own, whose mails' fates are old."
  (declare (indent 0) (debug t))
  `(let* ((root (make-temp-file "smtps-outbox" t))
          (smtps-outbox-directory (expand-file-name "outbox" root))
          (smtps-mode t)
          (noninteractive nil)
          (smtps-untold--pause 0)
          (smtps-untold-test-told nil)
          (smtps-send-tell-function
           (lambda (sentence) (push sentence smtps-untold-test-told))))
     (unwind-protect (progn ,@body)
       (cancel-function-timers #'smtps-untold-tell)
       (remove-hook 'smtps-outbox-change-hook #'smtps-untold--look-later)
       (delete-directory root t))))

(ert-deftest smtps-untold-test-once ()
  "Each fate is told once, in the words of its event; what was told is not."
  (smtps-untold-test-with
    (smtps-untold-test-put "sent" 'accepted "It was accepted.")
    (smtps-untold-test-put "sent" 'accepted "This was told." t)
    (smtps-untold-test-put "failed" 'refused "Nobody of that name.")
    (smtps-untold-test-put "failed" 'uncertain "It broke off.")
    (smtps-untold-test-put "held" 'held "One was refused.")
    ;; Held by its user, it has no fate yet.
    (smtps-untold-test-put "held" 'deferred "It was tried before.")
    (smtps-untold-tell)
    (should (equal (sort smtps-untold-test-told #'string<)
                   '("“About it”: It broke off.  M-x smtps-outbox: m if you find that it \
arrived, r sends it again."
                     "“About it”: It was accepted."
                     "“About it”: Nobody of that name.  M-x smtps-outbox: e edits it, r sends \
it again."
                     "“About it”: One was refused.  M-x smtps-outbox: o sends it to the others, \
e edits it.")))
    (setq smtps-untold-test-told nil)
    (smtps-untold-tell)
    (should-not smtps-untold-test-told)))

(ert-deftest smtps-untold-test-many ()
  "Many that were sent are told together."
  (smtps-untold-test-with
    (dotimes (_ 3) (smtps-untold-test-put "sent" 'accepted "It was accepted."))
    (smtps-untold-tell)
    (should (equal smtps-untold-test-told
                   '("While nobody looked, 3 mails were sent: M-x smtps-outbox lists them")))))

(ert-deftest smtps-untold-test-who-comes-first ()
  "Of several Emacsen one tells; what is fresh is left to who had it sent."
  (smtps-untold-test-with
    (let ((id (smtps-untold-test-put "sent" 'accepted "It was accepted.")))
      (let ((smtps-untold--pause 60))
        (smtps-untold-tell)
        (should-not smtps-untold-test-told)
        (should (cl-find #'smtps-untold-tell timer-list :key #'timer--function)))
      ;; The other was a moment faster.
      (cl-letf* ((told (symbol-function 'smtps-outbox-told))
                 ((symbol-function 'smtps-outbox-told)
                  (lambda (id) (funcall told id) (funcall told id))))
        (smtps-untold-tell))
      (should-not smtps-untold-test-told)
      (should-not (smtps-outbox-untold-p (smtps-outbox--directory "sent" id)))
      ;; Who has it sent again wants to hear of it.
      (smtps-outbox-to-be-told id)
      (should (smtps-outbox-told id))
      (should-not (smtps-outbox-told id)))))

;; What an Emacs is not told by its own helper, since a flush was faster.
(ert-deftest smtps-untold-test-sent-by-others ()
  "What another drainer sends while this Emacs runs is told, too."
  (smtps-untold-test-with
    (smtps-untold-tell)
    (should-not (cl-find #'smtps-untold-tell timer-list :key #'timer--function))
    (smtps-outbox-changed)
    (should (cl-find #'smtps-untold-tell timer-list :key #'timer--function))
    (let ((id (smtps-untold-test-put "queue" 'deferred "Later.")))
      (cancel-function-timers #'smtps-untold-tell)
      (smtps-untold-tell)
      (should-not smtps-untold-test-told)
      (let ((look (cl-find #'smtps-untold-tell timer-list :key #'timer--function)))
        (rename-file (smtps-outbox--directory "queue" id)
                     (smtps-outbox--directory "sent" id))
        (timer-event-handler look)
        (should (equal smtps-untold-test-told '("“About it”: Later.")))
        (should-not (cl-find #'smtps-untold-tell timer-list
                             :key #'timer--function))))))

(provide 'smtps-untold-test)
;;; smtps-untold-test.el ends here
