;;; smtps-notmuch-test.el --- Mail sent from notmuch  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-outbox-ui)
(require 'smtps-undo)
(smtps-real-package "notmuch")
(require 'notmuch)
(require 'smtps-notmuch)

(defvar smtpmail-queue-mail)

(defmacro smtps-notmuch-test-with (&rest body)
  "Evaluate BODY with notmuch and its mail, the helper, a sandbox, an account."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (let ((process-environment
            (cons (concat "NOTMUCH_CONFIG="
                          (expand-file-name "notmuch-config" smtps-real-home))
                  process-environment))
           (smtpmail-queue-mail nil))
       (smtps-real-own-account)
       (smtps-real-parent)
       (smtps-real-maildir "sent")
       (smtps-real-write "notmuch-config" "[database]"
                         (concat "path=" (expand-file-name "Mail" smtps-real-home))
                         "[user]" "name=Me" "primary_email=from-address@poste.it"
                         "[new]" "tags=unread;inbox")
       (smtps-real-run "notmuch" "new" "--quiet")
       (unwind-protect
           (progn (smtps-mode 1) ,@body)
         (smtps-mode -1)))))

(defun smtps-notmuch-test-done ()
  "Return how often the parent is replied to, the draft deleted, a copy filed."
  (mapcar (lambda (query)
            (string-to-number
             (smtps-real-run "notmuch" "count" "--exclude=false" query)))
          '("tag:replied and id:parent@other-host.it"
            "tag:deleted and tag:draft"
            "folder:sent and tag:mine and not tag:inbox")))

(defun smtps-notmuch-test-reply ()
  "Answer the parent, and save a draft; return the buffer."
  (let ((notmuch-fcc-dirs "sent +mine -inbox"))
    (notmuch-mua-new-reply "id:parent@other-host.it"))
  (message-goto-body)
  (insert "An answer.\n")
  (notmuch-draft-save)
  (current-buffer))

(ert-deftest smtps-notmuch-test-after-the-250 ()
  "Tags are changed and the copy is filed when a server has the mail."
  (smtps-notmuch-test-with
    (let ((smtpmail-queue-mail t)
          (ran 0))
      (smtps-notmuch-test-reply)
      (add-hook 'message-sent-hook (lambda () (cl-incf ran)) nil t)
      (notmuch-mua-send-and-exit)
      (should (equal (smtps-real-state) '(held)))
      (should (equal (smtps-notmuch-test-done) '(0 0 0)))
      (should (= ran 0))
      (smtps-send-entry (car (smtps-outbox-entries)))
      (smtps-real-until (equal (smtps-notmuch-test-done) '(1 1 1)))
      (smtps-real-until (= ran 1))
      (should (equal (smtps-real-state) '(sent))))))

(ert-deftest smtps-notmuch-test-without-emacs ()
  "All of it is done by the command line, too."
  (smtps-notmuch-test-with
    (let ((smtpmail-queue-mail t))
      (smtps-notmuch-test-reply)
      (notmuch-mua-send-and-exit))
    (should (smtps-outbox-move (plist-get (car (smtps-outbox-entries)) :id)
                               'held 'queue))
    (let ((program (smtps-helper-program)))
      (apply #'smtps-real-run
             `(,@program "outbox" "flush" "--outbox" ,smtps-outbox-directory)))
    (should (equal (smtps-real-state) '(sent)))
    (should (equal (smtps-notmuch-test-done) '(1 1 1)))))

(ert-deftest smtps-notmuch-test-refused ()
  "Nothing is done for a mail that nobody got.
What is made of it by editing is followed by all that, less the copy's tags."
  (smtps-notmuch-test-with
    (smtps-real-refusing
      (smtps-notmuch-test-reply)
      (notmuch-mua-send-and-exit)
      (smtps-real-until (equal (smtps-real-state) '(failed)))
      (should (equal (smtps-notmuch-test-done) '(0 0 0))))
    (smtps-real-own-account)
    (set-buffer (smtps-outbox-edit-compose (car (smtps-outbox-entries))))
    (message-send)
    (smtps-real-until (equal (smtps-notmuch-test-done) '(1 1 0)))
    (should (= 1 (length (smtps-real-mail "sent"))))))

(ert-deftest smtps-notmuch-test-undo ()
  "Taken back, the mail is as it was, and what follows is done once."
  (smtps-notmuch-test-with
    (let ((buffer (smtps-notmuch-test-reply))
          (smtps-send-delay 600))
      (let ((text (buffer-string))
            (facts (list notmuch-draft-id notmuch-message-queued-tag-changes)))
        (notmuch-mua-send-and-exit)
        (smtps-undo-send)
        (set-buffer buffer)
        (should (equal facts (list notmuch-draft-id
                                   notmuch-message-queued-tag-changes)))
        (should (equal (message-fetch-field "Fcc") "sent +mine -inbox"))
        (should (string-search "An answer." text)))
      (should (equal (smtps-notmuch-test-done) '(0 0 0)))
      (setq smtps-send-delay 0)
      (notmuch-mua-send-and-exit)
      (smtps-real-until (equal (smtps-notmuch-test-done) '(1 1 1))))))

(ert-deftest smtps-notmuch-test-another-way ()
  "Mail that goes another way has its tags changed when it was sent."
  (smtps-notmuch-test-with
    (let ((message-send-mail-function (lambda () (error "Not today")))
          (notmuch-fcc-dirs nil))
      (smtps-notmuch-test-reply)
      (message-remove-header "Fcc")
      (should-error (notmuch-mua-send))
      (should (equal (smtps-notmuch-test-done) '(0 0 0)))
      (setq message-send-mail-function #'ignore)
      (notmuch-mua-send)
      (should (equal (smtps-notmuch-test-done) '(1 1 0))))))

(ert-deftest smtps-notmuch-test-stopped-by-a-hook ()
  "What is hidden from notmuch is still there if another function stops it."
  (with-temp-buffer
    (setq-local notmuch-draft-id "id:draft"
                notmuch-maildir-use-notmuch-insert nil)
    (smtps-notmuch-prepare)
    (add-hook 'message-send-hook (lambda () (user-error "No")) nil t)
    (should-error (run-hooks 'message-send-hook))
    (setq-local notmuch-message-queued-tag-changes '(("id:parent" "+replied")))
    (should-error (run-hooks 'message-send-hook))
    (smtps-notmuch--show)
    (should (equal notmuch-draft-id "id:draft"))
    (should (equal notmuch-message-queued-tag-changes
                   '(("id:parent" "+replied"))))))

(ert-deftest smtps-notmuch-test-forms ()
  "The helper gets what it can do; what else the user has set stays here."
  (let ((notmuch-command "notmuch"))
    (should (equal (smtps-notmuch--change "id:\"a/b@c.example\"" '("+x"))
                   '(tag :id "a/b@c.example" :tags ("+x"))))
    (dolist (query '("thread:0001" "id:a or *" "id:\"a" "id:a\" or *"))
      (should (equal (smtps-notmuch--change query '("+x"))
                     `(tag :client notmuch :query ,query :tags ("+x")))))
    (let ((notmuch-after-tag-hook '(ignore)))
      (should (plist-get (cdr (smtps-notmuch--change "id:a@b" '("+x"))) :client)))
    (let ((notmuch-command "notmuch-at-home"))
      (should (plist-get (cdr (smtps-notmuch--change "id:a@b" '("+x"))) :client)))))

(ert-deftest smtps-notmuch-test-copies ()
  "A folder that is missing is asked about while somebody is there."
  (smtps-notmuch-test-with
    (let ((notmuch-maildir-use-notmuch-insert t)
          (sent (concat smtps-real-home "Mail/sent"))
          (answer nil))
      (should (equal (smtps-notmuch--copy "sent +x -inbox")
                     `(fcc :kind notmuch :folder "sent" :tags ("+x" "-inbox")
                           :field ,(format "Fcc: %s\n" sent))))
      (cl-letf (((symbol-function 'y-or-n-p) (lambda (_) answer)))
        (should-error (smtps-notmuch--copy "\"my sent\"")
                      :type 'smtps-afterwork-error)
        (setq answer t)
        (should (equal (plist-get (cdr (smtps-notmuch--copy "\"my sent\"")) :folder)
                       "my sent"))
        (let ((notmuch-fcc-dirs "elsewhere"))
          (notmuch-mua-mail "to-address@other-host.it" "For a new folder")
          (notmuch-mua-send)
          (smtps-real-until
           (equal "1\n" (smtps-real-run "notmuch" "count" "folder:elsewhere")))))
      (setq notmuch-maildir-use-notmuch-insert nil)
      (should (equal (smtps-notmuch--copy sent)
                     `(fcc :kind maildir :path ,sent
                           :field ,(format "Fcc: %s\n" sent)))))))

(ert-deftest smtps-notmuch-test-another-program ()
  "What a notmuch of the user's own is to do is done here, or told."
  (smtps-notmuch-test-with
    (let ((notmuch-command (expand-file-name "notmuch-at-home" smtps-real-home)))
      (make-symbolic-link (executable-find "notmuch") notmuch-command)
      (smtps-notmuch-test-reply)
      (notmuch-mua-send-and-exit)
      (smtps-real-until (equal (smtps-notmuch-test-done) '(1 1 1))))
    (should (string-match-p
             "notmuch says: .*nowhere"
             (cadr (should-error
                    (smtps-notmuch-carry-out
                     '(fcc :kind notmuch :client notmuch :folder "nowhere" :tags nil)
                     (expand-file-name "Mail/inbox/cur/1.parent.host:2,RS"
                                       smtps-real-home))))))))

(provide 'smtps-notmuch-test)
;;; smtps-notmuch-test.el ends here
