;;; smtps-mu4e-test.el --- Mail sent from mu4e  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-outbox-ui)
(require 'smtps-undo)
(smtps-real-package "mu4e")
(require 'mu4e)
(require 'smtps-mu4e)

(defvar smtpmail-queue-dir)

(defun smtps-mu4e-test-start ()
  "Start mu4e, and wait until it knows its mail."
  (setq mu4e--server-props nil)
  (mu4e t)
  (smtps-real-until mu4e--server-props))

(defun smtps-mu4e-test-quit ()
  "End mu4e, and wait until mu has ended: told twice, mu4e signals."
  (when mu4e--server-process
    (mu4e-quit))
  (smtps-real-until (smtps-real-ended-p mu4e--server-name)))

(defmacro smtps-mu4e-test-with (&rest body)
  "Evaluate BODY with mu4e and its mail, the helper, a sandbox, an account."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (let ((mu4e-mu-home (expand-file-name "mu" smtps-real-home))
           (mu4e-sent-folder "/sent")
           (mu4e-drafts-folder "/drafts")
           (mu4e-trash-folder "/trash")
           (mu4e-compose-signature nil)
           (mu4e-confirm-quit nil)
           (mu4e-hide-index-messages t)
           (smtpmail-queue-mail nil)
           (smtpmail-queue-dir smtps-real-home))
       (smtps-real-own-account)
       (smtps-real-parent)
       (mapc #'smtps-real-maildir '("sent" "drafts" "trash"))
       (let ((home (concat "--muhome=" mu4e-mu-home)))
         (smtps-real-run "mu" "init" "--quiet" home
                         (format "--maildir=%sMail" smtps-real-home)
                         "--my-address=from-address@poste.it")
         (smtps-real-run "mu" "index" "--quiet" home))
       (unwind-protect
           (progn
             (smtps-mode 1)
             (smtps-mu4e-test-start)
             ,@body)
         (smtps-mu4e-test-quit)
         (smtps-mode -1)))))

(defun smtps-mu4e-test-reply ()
  "Have mu4e answer the parent; return the buffer."
  (mu4e--server-compose 'reply nil 1)
  (smtps-real-until
   (with-current-buffer (window-buffer) (derived-mode-p 'mu4e-compose-mode)))
  (set-buffer (window-buffer))
  (message-goto-body)
  (insert "An answer.\n")
  (current-buffer))

(defun smtps-mu4e-test-done ()
  "Return whether the parent is flagged, and the numbers of drafts and copies."
  (list (if (member "inbox/cur/1.parent.host:2,RS" (smtps-real-mail "inbox")) 1 0)
        (length (smtps-real-mail "drafts"))
        (length (smtps-real-mail "sent"))))

(ert-deftest smtps-mu4e-test-after-the-250 ()
  "Flag, draft and copy wait for a server's answer; `m' holds the mail."
  (smtps-mu4e-test-with
    (let ((buffer (smtps-mu4e-test-reply))
          (handler (default-value 'message-fcc-handler-function))
          (ran 0))
      (add-hook 'message-sent-hook (lambda () (cl-incf ran)) nil t)
      (mu4e--main-toggle-mail-sending-mode)
      (message-send-and-exit)
      (should (equal (smtps-real-state) '(held)))
      (should (equal (smtps-mu4e-test-done) '(0 1 0)))
      (should (= ran 0))
      (should (eq handler (default-value 'message-fcc-handler-function)))
      (smtps-send-entry (car (smtps-outbox-entries)))
      (smtps-real-until (equal (smtps-mu4e-test-done) '(1 0 1)))
      (smtps-real-until (= ran 1))
      (should (equal (smtps-real-state) '(sent)))
      (should-not (equal buffer (window-buffer)))
      ;; mu knows of it without being asked to look; it writes that down at its end.
      (smtps-mu4e-test-quit)
      (smtps-real-until
       (eql 0 (call-process "mu" nil nil nil "find"
                            (concat "--muhome=" mu4e-mu-home) "maildir:/sent")))
      (should (string-search "An answer."
                             (smtps-real-file
                              (concat "Mail/" (car (smtps-real-mail "sent")))))))))

(ert-deftest smtps-mu4e-test-refused ()
  "Of a mail that nobody got, there is no copy, and the draft stays.
What is made of it by editing is followed by all that."
  (smtps-mu4e-test-with
    (smtps-real-refusing
      (smtps-mu4e-test-reply)
      (message-send-and-exit)
      (smtps-real-until (equal (smtps-real-state) '(failed)))
      (should (equal (smtps-mu4e-test-done) '(0 1 0))))
    (smtps-real-own-account)
    (set-buffer (smtps-outbox-edit-compose (car (smtps-outbox-entries))))
    (message-send)
    (smtps-real-until (equal (smtps-mu4e-test-done) '(1 0 1)))))

(ert-deftest smtps-mu4e-test-undo ()
  "Taken back, the mail is as it was, and what follows is done once."
  (smtps-mu4e-test-with
    (let ((buffer (smtps-mu4e-test-reply))
          (smtps-send-delay 600)
          (hooks nil))
      (setq hooks message-sent-hook)
      (message-send-and-exit)
      (smtps-undo-send)
      (set-buffer buffer)
      (should (equal hooks message-sent-hook))
      (should (equal (smtps-mu4e-test-done) '(0 1 0)))
      (setq smtps-send-delay 0)
      (message-send-and-exit)
      (smtps-real-until (equal (smtps-mu4e-test-done) '(1 0 1))))))

(defun smtps-mu4e-test-another-emacs ()
  "Have another Emacs start mu4e, and be there until the parent is flagged."
  (smtps-real-run
   (expand-file-name invocation-name invocation-directory) "-Q" "--batch"
   "-L" (file-name-directory (locate-library "smtps"))
   "-L" (file-name-directory (locate-library "mu4e"))
   "--eval"
   (prin1-to-string
    `(let ((deadline (time-add nil 20)))
       (require 'smtps)
       (require 'mu4e)
       (setq smtps-outbox-directory ,smtps-outbox-directory
             mu4e-mu-home ,mu4e-mu-home
             mu4e-sent-folder ,mu4e-sent-folder
             mu4e-drafts-folder ,mu4e-drafts-folder
             mu4e-trash-folder ,mu4e-trash-folder)
       (smtps-mode 1)
       (mu4e)
       (while (and (directory-files-recursively "~/Mail/drafts" "^[^.]")
                   (time-less-p nil deadline))
         (accept-process-output nil 0.05))
       (mu4e--stop)))))

(ert-deftest smtps-mu4e-test-after-a-restart ()
  "The copy needs no mu4e; the rest is done by the next Emacs that has one."
  (smtps-mu4e-test-with
    (let ((smtpmail-queue-mail t))
      (smtps-mu4e-test-reply)
      (message-send-and-exit))
    (smtps-mu4e-test-quit)
    (smtps-send-entry (car (smtps-outbox-entries)))
    (smtps-real-until (equal (smtps-mu4e-test-done) '(0 1 1)))
    (smtps-mu4e-test-another-emacs)
    (should (equal (smtps-mu4e-test-done) '(1 0 1)))))

(ert-deftest smtps-mu4e-test-parents ()
  "What is answered and what is forwarded is told apart as mu4e does."
  (dolist (case '(("In-Reply-To: <b@x>\nReferences: <a@x>\n <b@x>\n" "<b@x>" answered)
                  ("References: <a@x>\n <b@x>\n" "<b@x>" forwarded)
                  ("Subject: In-Reply-To: <a@x>\n" nil nil)))
    (with-temp-buffer
      (message-mode)
      (insert (car case) mail-header-separator "\nReferences: <c@x>\n")
      (let ((form (car (smtps-mu4e--parent))))
        (should (equal (plist-get (cdr form) :parent) (nth 1 case)))
        (should (eq (plist-get (cdr form) :how) (nth 2 case)))))))

(ert-deftest smtps-mu4e-test-renamed ()
  "A draft is found under the name that a synchronising program gave it."
  (smtps-mu4e-test-with
    (let ((cur (concat smtps-real-home "Mail/drafts/cur/")))
      (smtps-real-write "Mail/drafts/cur/12.ab.host,U=7:2,DS"
                        "From: from-address@poste.it" "Message-ID: <d@x>" "" "X")
      (smtps-real-write "Mail/drafts/cur/12.abc.host:2,DS" "")
      (should-not (smtps-mu4e--renamed (concat cur "12.a.host:2,DS")))
      (smtps-mu4e-carry-out
       `(draft :client mu4e :file ,(concat cur "12.ab.host:2,DS")) nil)
      (smtps-real-until (equal (smtps-real-mail "drafts")
                               '("drafts/cur/12.abc.host:2,DS"))))))

(ert-deftest smtps-mu4e-test-deletes-no-other-file ()
  "A form that was tampered with has no file deleted but one of mu4e's."
  (smtps-mu4e-test-with
    (smtps-real-write "cur/precious" "")
    (smtps-real-write "Mail/notes" "")
    (dolist (name '("cur/precious" "Mail/notes"
                    "Mail/drafts/cur/../../../cur/precious"))
      (should-error (smtps-mu4e-carry-out
                     `(draft :client mu4e :file ,(concat smtps-real-home name)) nil)))))

(provide 'smtps-mu4e-test)
;;; smtps-mu4e-test.el ends here
