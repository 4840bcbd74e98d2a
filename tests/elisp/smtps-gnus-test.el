;;; smtps-gnus-test.el --- Gcc, marks and drafts of a real Gnus  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'gnus)
(require 'gnus-msg)
(require 'gnus-start)
(require 'gnus-sum)
(require 'nndraft)
(require 'nnfolder)
(require 'nnmaildir)
(require 'smtps-afterwork)
(require 'smtps-gnus)
(require 'smtps-undo)
(require 'smtps-outbox-ui)

(defun smtps-gnus-test-file (name)
  "Return the absolute name of the file NAME in the home."
  (expand-file-name name smtps-real-home))

(defun smtps-gnus-test-server ()
  "Return the name of this test's server: a backend forgets none of them."
  (file-name-nondirectory (directory-file-name smtps-real-home)))

(defun smtps-gnus-test-group ()
  "Return the name of the group that has the mail to be answered."
  (format "nnmaildir+%s:inbox" (smtps-gnus-test-server)))

(defun smtps-gnus-test-archive ()
  "Return the name of the group that Gcc names."
  (format "nnfolder+archive-%s:sent" (smtps-gnus-test-server)))

(defun smtps-gnus-test-inbox ()
  "Make a maildir with a mail in it, which can be answered."
  (dolist (part '("cur" "new" "tmp"))
    (make-directory (smtps-gnus-test-file (concat "Maildir/inbox/" part)) t))
  (write-region "From: Her <her@other-host.it>
To: from-address@poste.it
Subject: A question
Message-ID: <parent@other-host.it>
Date: Mon, 23 Nov 2026 08:00:00 +0000

What now?
" nil (smtps-gnus-test-file "Maildir/inbox/cur/1.x.host:2,") nil 'silent))

(defmacro smtps-gnus-test-with (&rest body)
  "Evaluate BODY with a Gnus that runs, the helper and a sandbox."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (let* ((home smtps-real-home)
            (gnus-home-directory home)
            (gnus-directory (expand-file-name "News/" home))
            (message-directory (expand-file-name "Mail/" home))
            (message-auto-save-directory (expand-file-name "drafts" message-directory))
            (nndraft-directory (expand-file-name "drafts/" message-directory))
            (gnus-init-file nil)
            (gnus-site-init-file nil)
            (gnus-startup-file (expand-file-name ".newsrc" home))
            (gnus-dribble-directory home)
            (gnus-use-dribble-file nil)
            (gnus-save-newsrc-file-last-timestamp nil)
            (gnus-save-newsrc-file nil)
            (gnus-read-newsrc-file nil)
            (gnus-agent nil)
            (gnus-inhibit-startup-message t)
            (gnus-interactive-exit nil)
            (gnus-novice-user nil)
            (gnus-expert-user t)
            (gnus-select-method '(nnnil ""))
            (gnus-secondary-select-methods
             `((nnmaildir ,(smtps-gnus-test-server)
                          (directory ,(expand-file-name "Maildir" home)))))
            (gnus-message-archive-method
             `(nnfolder ,(concat "archive-" (smtps-gnus-test-server))
                        (nnfolder-directory ,(expand-file-name "archive" home))
                        (nnfolder-active-file
                         ,(expand-file-name "archive/active" home))
                        (nnfolder-get-new-mail nil)
                        (nnfolder-inhibit-expiry t)))
            (gnus-message-archive-group "sent")
            (gnus-gcc-mark-as-read nil)
            (message-fcc-handler-function #'message-output)
            (smtps-send-delay 0))
       (smtps-real-account :ca-file (smtps-real-property :ca-file))
       (smtps-real-authinfo
        (format "machine localhost login %s password %s"
                (smtps-real-property :user) (smtps-real-property :password)))
       (smtps-gnus-test-inbox)
       (gnus)
       (unwind-protect
           (progn
             (gnus-subscribe-group (smtps-gnus-test-group))
             (with-current-buffer gnus-group-buffer
               (gnus-group-get-new-news))
             ,@body)
         (dolist (buffer (buffer-list))
           (when (with-current-buffer buffer (derived-mode-p 'message-mode))
             (with-current-buffer buffer
               (set-buffer-modified-p nil)
               (setq buffer-file-name nil)
               (kill-buffer))))
         (when (gnus-alive-p)
           (cl-letf (((symbol-function 'gnus-offer-save-summaries) #'ignore))
             (with-current-buffer gnus-group-buffer
               (gnus-group-exit)))
           (nnoo-close-server 'nndraft ""))))))

(defun smtps-gnus-test-article ()
  "Return the number of the mail in the inbox."
  (cdr (gnus-active (smtps-gnus-test-group))))

(defun smtps-gnus-test-reply (&rest headers)
  "Answer the mail in the inbox, with HEADERS above all others."
  (gnus-group-read-group t t (smtps-gnus-test-group))
  (set-buffer (gnus-summary-buffer-name (smtps-gnus-test-group)))
  (gnus-summary-goto-subject (smtps-gnus-test-article) t)
  (gnus-summary-reply)
  (goto-char (point-min))
  (dolist (header headers)
    (insert header "\n"))
  (message-goto-body)
  (insert "This, é.\n"))

(defun smtps-gnus-test-replied-p ()
  "Return non-nil if the mail in the inbox is marked as answered."
  (with-current-buffer (gnus-summary-buffer-name (smtps-gnus-test-group))
    (memq (smtps-gnus-test-article) gnus-newsgroup-replied)))

(defun smtps-gnus-test-filed ()
  "Return how many copies the archive has."
  (let ((text (smtps-real-file "archive/sent")))
    (if text (1- (length (split-string text "^Subject: Re: A question$"))) 0)))

(defun smtps-gnus-test-done ()
  "Wait until the one mail was sent and nothing is left to be done of it."
  (smtps-real-until
   (let ((entry (car (smtps-outbox-entries))))
     (and (eq (plist-get entry :state) 'sent)
          (not (smtps-afterwork--file (plist-get entry :directory)))))))

(ert-deftest smtps-gnus-test-all-after-the-acceptance ()
  "Gcc, the mark and the draft's end come after the acceptance, and once."
  (smtps-gnus-test-with
    (smtps-gnus-test-reply "Bcc: b@other-host.it")
    (should (equal (message-fetch-field "Gcc") (smtps-gnus-test-archive)))
    (should message-draft-article)
    (save-buffer)
    (let ((draft buffer-file-name)
          (go nil))
      (should (file-exists-p draft))
      (cl-letf* ((wake (symbol-function 'smtps-send--wake))
                 ((symbol-function 'smtps-send--wake)
                  (lambda (&rest arguments)
                    (setq go (lambda () (apply wake arguments))))))
        (message-send))
      (should (= 0 (smtps-gnus-test-filed)))
      (should-not (smtps-gnus-test-replied-p))
      (should (file-exists-p draft))
      (funcall go)
      (smtps-gnus-test-done)
      (should (= 1 (smtps-gnus-test-filed)))
      (let ((text (smtps-real-file "archive/sent")))
        (should (string-match-p "^Bcc: b@other-host\\.it$" text))
        (should (string-match-p "\nVGhpcywgw6kuDQo=\n" text))
        (should-not (string-match-p "^Gcc:" text)))
      (should (smtps-gnus-test-replied-p))
      (should-not (file-exists-p draft)))))

(ert-deftest smtps-gnus-test-mark-without-its-summary ()
  "A summary that was left is not needed: the group gets the mark."
  (smtps-gnus-test-with
    (smtps-gnus-test-reply)
    (let ((mail (current-buffer)))
      (with-current-buffer (gnus-summary-buffer-name (smtps-gnus-test-group))
        (gnus-summary-exit))
      (set-buffer mail)
      (message-send))
    (smtps-gnus-test-done)
    (should (equal (cdr (assq 'reply (gnus-info-marks
                                      (gnus-get-info (smtps-gnus-test-group)))))
                   (list (smtps-gnus-test-article))))))

(ert-deftest smtps-gnus-test-refused ()
  "What nobody accepted leaves no copy and no mark, and the draft stays."
  (smtps-gnus-test-with
    (smtps-real-authinfo
     (format "machine localhost login %s password no"
             (smtps-real-property :user)))
    (smtps-gnus-test-reply)
    (save-buffer)
    (let ((draft buffer-file-name))
      (message-send)
      (smtps-real-until (smtps-real-told-p "M-x smtps-answer"))
      (should (= 0 (smtps-gnus-test-filed)))
      (should-not (smtps-gnus-test-replied-p))
      (should (file-exists-p draft))
      (with-current-buffer (smtps-outbox-edit-compose (car (smtps-outbox-entries)))
        (should (equal (message-fetch-field "Gcc") (smtps-gnus-test-archive)))))))

(ert-deftest smtps-gnus-test-undo ()
  "Taken back, the buffer has Gcc, draft, hook and actions as before."
  (smtps-gnus-test-with
    (let ((smtps-send-delay 600)
          (variables '(message-sent-hook message-send-actions
                                         message-draft-article))
          before)
      (smtps-gnus-test-reply)
      (setq before (mapcar #'symbol-value variables))
      (message-send)
      (should-not (message-fetch-field "Gcc"))
      (smtps-undo-send)
      (set-buffer (window-buffer))
      (should (equal (message-fetch-field "Gcc") (smtps-gnus-test-archive)))
      (should (equal (mapcar #'symbol-value variables) before))
      (let ((smtps-send-delay 0))
        (message-send))
      (smtps-gnus-test-done)
      (should (= 1 (smtps-gnus-test-filed)))
      (should (smtps-gnus-test-replied-p)))))

(ert-deftest smtps-gnus-test-a-server-that-is-not-open ()
  "No server is opened unasked that might ask; F does it."
  (smtps-gnus-test-with
    (let ((smtps-gnus--local nil))
      (smtps-gnus-test-reply)
      (gnus-close-server gnus-message-archive-method)
      (message-send)
      (smtps-real-until (smtps-real-told-p
                         "the copy in nnfolder\\+archive-.+:sent: the server nnfolder:archive-.+ is not open"))
      (should (= 0 (smtps-gnus-test-filed)))
      (should (equal (smtps-real-state) '(sent)))
      (should (smtps-gnus-test-replied-p))
      (smtps-outbox)
      (with-current-buffer "*smtps outbox*"
        (goto-char (point-min))
        (smtps-outbox-follow))
      (smtps-gnus-test-done)
      (should (= 1 (smtps-gnus-test-filed))))))

(ert-deftest smtps-gnus-test-a-gnus-that-does-not-run ()
  "What Gnus has to do waits until it runs, and is shown to wait."
  (smtps-gnus-test-with
    (smtps-gnus-test-reply)
    (cl-letf (((symbol-function 'gnus-alive-p) #'ignore))
      (message-send)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (let* ((entry (car (smtps-outbox-entries)))
             (directory (plist-get entry :directory)))
        (smtps-real-until (not (smtps-afterwork-helpers-p directory)))
        (should-not (smtps-afterwork-run (plist-get entry :id)))
        (should (string-match-p "waits until gnus runs"
                                (smtps-afterwork-sentence
                                 (car (smtps-afterwork-left entry)))))))
    (should (= 0 (smtps-gnus-test-filed)))
    (smtps-send-follow-up)
    (smtps-gnus-test-done)
    (should (= 1 (smtps-gnus-test-filed)))
    (should (smtps-gnus-test-replied-p))))

(ert-deftest smtps-gnus-test-a-draft-that-was-written-again ()
  "Only the draft of the mail that was sent is deleted."
  (smtps-gnus-test-with
    (smtps-gnus-test-reply)
    (save-buffer)
    (let ((draft buffer-file-name))
      (cl-letf* ((wake (symbol-function 'smtps-send--wake))
                 ((symbol-function 'smtps-send--wake)
                  (lambda (&rest arguments)
                    (set-file-times draft 1)
                    (apply wake arguments))))
        (message-send))
      (smtps-real-until (smtps-real-told-p "the end of the draft: it was written again"))
      (should (file-exists-p draft)))))

(ert-deftest smtps-gnus-test-a-mail-of-no-group ()
  "A new mail has nothing to mark, and nothing is said of marks."
  (smtps-gnus-test-with
    (set-buffer gnus-group-buffer)
    (gnus-group-mail)
    (message-goto-to)
    (insert "to-address@other-host.it")
    (message-goto-subject)
    (insert "Re: A question")
    (should (equal (cl-remove-duplicates (mapcar #'car (smtps-gnus-collect)))
                   '(fcc)))
    (message-send)
    (smtps-gnus-test-done)
    (should (= 1 (smtps-gnus-test-filed)))))

(provide 'smtps-gnus-test)
;;; smtps-gnus-test.el ends here
