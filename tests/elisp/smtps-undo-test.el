;;; smtps-undo-test.el --- Mail that waits for its time  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-undo)

(defmacro smtps-undo-test-with (delay &rest body)
  "Evaluate BODY with the helper, a sandbox and its account, and DELAY."
  (declare (indent 1) (debug t))
  `(smtps-real-with
     (let ((smtps-send-delay ,delay)
           (kill-on-exit (default-value 'message-kill-buffer-on-exit)))
       (smtps-real-account :ca-file (smtps-real-property :ca-file))
       (smtps-real-authinfo
        (format "machine localhost login %s password %s"
                (smtps-real-property :user) (smtps-real-property :password)))
       (unwind-protect (progn ,@body)
         (setq-default message-kill-buffer-on-exit kill-on-exit)))))

(defun smtps-undo-test-compose ()
  "Compose a mail with an attachment in MML, point in the middle of a word."
  (message-mail "to-address@other-host.it" "Take me back")
  (message-goto-body)
  (insert "Some text.\n<#part type=text/plain disposition=inline>\nX\n<#/part>\n")
  (search-backward "text."))

(defun smtps-undo-test-mails ()
  "Return the number of mails that the sandbox has."
  (length (directory-files (expand-file-name "new" (smtps-real-property :maildir))
                           nil "\\`[^.]")))

(defun smtps-undo-test-envelopes ()
  "Return the text of the envelopes of the mails in queue/."
  (mapconcat (lambda (id)
               (smtps-real-file (format "outbox/queue/%s/envelope.sexp" id)))
             (smtps-outbox--names "queue") ""))

(ert-deftest smtps-undo-test-goes-when-time-is-over ()
  "A delayed mail is not sent before its time, and then by itself."
  (smtps-undo-test-with 2
    ;; Where the outbox, which has whole seconds, adds most of one.
    (smtps-real-until (< (mod (float-time) 1) 0.3))
    (smtps-real-send)
    (should (smtps-real-told-p "It goes to localhost in 2 seconds; M-x smtps-undo-send takes"))
    (let ((entry (car (smtps-outbox-entries))))
      (should (smtps-outbox-delayed-p entry))
      (should-not (smtps-outbox-wait))
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (should-not (time-less-p nil (plist-get entry :not-before))))
    (should-error (smtps-undo-send) :type 'user-error)
    (should (= 1 (smtps-undo-test-mails)))))

(ert-deftest smtps-undo-test-brings-the-buffer-back ()
  "The buffer is the same, its point and MML too, though it was to be killed."
  (smtps-undo-test-with 600
    (smtps-undo-test-compose)
    (setq-default message-kill-buffer-on-exit t)
    (let ((buffer (current-buffer))
          (name (buffer-name))
          (text (buffer-string))
          (id nil)
          (message-id nil))
      (message-send-and-exit)
      (setq id (plist-get (car (smtps-outbox-entries)) :id)
            message-id (plist-get (car (smtps-outbox-entries)) :message-id))
      (should (buffer-live-p buffer))
      (set-window-buffer nil (get-buffer-create "*elsewhere*"))
      (set-buffer "*elsewhere*")
      (smtps-undo-send)
      (set-buffer (window-buffer))
      (should (eq (current-buffer) buffer))
      (should (equal (buffer-name) name))
      (should (looking-at "text\\.\n<#part "))
      ;; What message.el generated is gone; it has sorted the header, too.
      (should (equal (sort (split-string (buffer-string) "\n") #'string<)
                     (sort (split-string text "\n") #'string<)))
      (should message-kill-buffer-on-exit)
      (should (equal (smtps-real-state) '(held)))
      (should (= 0 (smtps-undo-test-mails)))
      ;; Sent again, it asks nothing, and goes once.
      (let ((smtps-send-delay 0))
        (message-send))
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (should-not (smtps-outbox-find id))
      (should-not (equal message-id (plist-get (car (smtps-outbox-entries))
                                               :message-id)))
      (should (= 1 (smtps-undo-test-mails))))))

(ert-deftest smtps-undo-test-keeps-what-was-written ()
  "A Date and a Message-ID of the user's own come back with the mail."
  (smtps-undo-test-with 600
    (smtps-undo-test-compose)
    (message-add-header "Date: Thu, 01 Jan 1970 00:00:00 +0000"
                        "Message-ID: <mine@x.example>")
    (message-send)
    (smtps-undo-send)
    (should (equal (message-fetch-field "Date") "Thu, 01 Jan 1970 00:00:00 +0000"))
    (should (equal (message-fetch-field "Message-ID") "<mine@x.example>"))))

(ert-deftest smtps-undo-test-after-a-restart ()
  "Without its buffer, the mail is made one of again."
  (smtps-undo-test-with 600
    (smtps-undo-test-compose)
    (let ((buffer (current-buffer)))
      (message-send)
      (kill-buffer buffer)
      (smtps-undo-send)
      (set-buffer (window-buffer))
      (should (derived-mode-p 'message-mode))
      (should (equal (message-fetch-field "Subject") "Take me back"))
      (should (save-excursion (search-forward "Some text." nil t)))
      (should smtps-send-replaces))))

(ert-deftest smtps-undo-test-buffer-goes-with-its-mail ()
  "A buffer that was to be killed is, once its mail can't be taken back."
  (smtps-undo-test-with 1
    (smtps-undo-test-compose)
    (setq-default message-kill-buffer-on-exit t)
    (let ((buffer (current-buffer)))
      (message-send-and-exit)
      (set-window-buffer nil (get-buffer-create "*elsewhere*"))
      (should (buffer-live-p buffer))
      (smtps-real-until (not (buffer-live-p buffer)))
      (smtps-real-until (equal (smtps-real-state) '(sent))))))

(ert-deftest smtps-undo-test-dropped-meanwhile ()
  "What was taken back may be dropped; who then sends it is asked, and no more."
  (smtps-undo-test-with 600
    (smtps-real-send)
    (smtps-undo-send)
    (set-buffer (window-buffer))
    (delete-directory (smtps-outbox--directory "held" smtps-send-replaces) t)
    (let ((smtps-send-delay 0))
      (cl-letf (((symbol-function 'yes-or-no-p) #'always))
        (message-send)))
    (smtps-real-until (smtps-real-told-p "accepted the message"))
    (should-not (smtps-real-told-p "still in the outbox"))))

(ert-deftest smtps-undo-test-too-late ()
  "What another has taken up can't be taken back."
  (smtps-undo-test-with 600
    (smtps-real-send)
    (cl-letf* ((move (symbol-function 'smtps-outbox-move))
               ((symbol-function 'smtps-outbox-move)
                (lambda (id from to)
                  (rename-file (smtps-outbox--directory "queue" id)
                               (smtps-outbox--directory "active" id))
                  (funcall move id from to))))
      (should-error (smtps-undo-send) :type 'user-error))
    (should (equal (smtps-real-state) '(active)))))

(ert-deftest smtps-undo-test-another-mail ()
  "In a mail's buffer no other is taken back; elsewhere not without asking."
  (smtps-undo-test-with 600
    (smtps-real-send "Monday")
    (should (equal smtps-send--last
                   (plist-get (car (smtps-outbox-entries)) :id)))
    (let ((asked nil) (answer nil))
      (cl-letf (((symbol-function 'yes-or-no-p)
                 (lambda (prompt) (push prompt asked) answer)))
        (let ((smtps-send-delay 0))
          (smtps-real-send "Now"))
        (smtps-real-until (member 'sent (smtps-real-state)))
        (should (string-match-p
                 "\\`It is too late: this mail was sent"
                 (cadr (should-error (smtps-undo-send) :type 'user-error))))
        (should-not asked)
        (with-temp-buffer
          (should-error (smtps-undo-send) :type 'user-error)
          (should (equal asked '("“Monday” to to-address@other-host.it is not the mail that was sent last.  Take it back? ")))
          (should (equal (sort (smtps-real-state) #'string<) '(queue sent)))
          (setq answer t)
          (smtps-undo-send)))
      (should (equal (sort (smtps-real-state) #'string<) '(held sent)))
      (should (smtps-real-told-p
               "\\`Taken back, not sent: “Monday” to to-address@other-host\\.it\\'"))
      (should (= (length asked) 2)))))

(ert-deftest smtps-undo-test-scheduled ()
  "With a prefix argument a date is asked, which has to be in the future."
  (smtps-undo-test-with 0
    (let* ((current-prefix-arg '(4))
           (answer nil))
      (cl-letf (((symbol-function 'read-string) (lambda (&rest _) answer)))
        (dolist (case '(("2001-01-01 14:30" . "is in the past\\.  Nothing was sent\\.\\'")
                        ("in 2 hours" . "no time that is sure\\.  Type one like 18:30, .+  Nothing")))
          (setq answer (car case))
          (should (string-match-p (cdr case)
                                  (cadr (should-error (smtps-real-send)
                                                      :type 'user-error))))
          (should-not (smtps-real-state)))
        (setq answer "2031-01-01 14:30")
        (smtps-real-send)
        (should (smtps-real-told-p "in [0-9]+ days.*, on Wed 1 Jan 2031 14:30; "))
        (should (equal (plist-get (car (smtps-outbox-entries)) :not-before)
                       (time-convert (encode-time '(0 30 14 1 1 2031 nil -1 nil))
                                     'integer)))
        ;; That its server may hold it is asked only if the user wants it.
        (should-not (string-search "hold-until" (smtps-undo-test-envelopes)))
        (let ((smtps-future-release t))
          (smtps-real-send)
          (smtps-real-until
           (smtps-real-told-p "(FUTURERELEASE); nothing was sent\\. It waits in the outbox until its time\\.\\'"))
          (should (string-search (format-time-string
                                  ":hold-until \"%Y-%m-%dT%H:%M:%SZ\""
                                  (encode-time '(0 30 14 1 1 2031 nil -1 nil)) t)
                                 (smtps-undo-test-envelopes))))
        (should (equal (smtps-real-state) '(queue queue)))
        (should (= 0 (smtps-undo-test-mails)))))))

(ert-deftest smtps-undo-test-scheduled-by-a-macro ()
  "The keys of a macro answer when the mail is to go; without, it does not."
  (smtps-undo-test-with 0
    (smtps-undo-test-compose)
    (let ((current-prefix-arg '(4))
          (executing-kbd-macro [?x]))
      (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'ignore)
                ((symbol-function 'read-string) (lambda (&rest _) "")))
        (should-error (message-send) :type 'user-error)
        (should-not (smtps-real-state)))
      (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'ignore)
                ((symbol-function 'read-string) (lambda (&rest _) "+1h")))
        (message-send)
        (should (smtps-outbox-delayed-p (car (smtps-outbox-entries))))))))

(ert-deftest smtps-undo-test-next-try-is-told ()
  "What waits for another try is told with its time, once."
  (smtps-undo-test-with 0
    (smtps-real-account :port 1 :tls 'none :user nil)
    (smtps-real-send)
    (smtps-real-until
     (smtps-real-told-p "can't be reached.+refused\\.  The mail is kept in the outbox; next try at [0-9][0-9]:[0-9][0-9]\\.\\'"))
    (should (= 1 (cl-count-if (lambda (told) (string-search "next try" told))
                              smtps-real-told)))))

(provide 'smtps-undo-test)
;;; smtps-undo-test.el ends here
