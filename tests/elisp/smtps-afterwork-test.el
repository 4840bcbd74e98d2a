;;; smtps-afterwork-test.el --- Copies and marks once a mail was accepted  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-afterwork)
(require 'smtps-mail)
(require 'smtps-message)
(require 'smtps-undo)
(require 'smtps-outbox-ui)
(require 'sendmail)
(require 'tramp)
(require 'tramp-cmds)

(defmacro smtps-afterwork-test-with (&rest body)
  "Evaluate BODY with the helper, a sandbox and its account."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (let ((smtps-send-delay 0)
           (message-fcc-handler-function #'message-output)
           (kill-on-exit (default-value 'message-kill-buffer-on-exit)))
       (smtps-afterwork-test-account)
       (smtps-real-authinfo
        (format "machine localhost login %s password %s"
                (smtps-real-property :user) (smtps-real-property :password)))
       (unwind-protect (progn ,@body)
         (setq-default message-kill-buffer-on-exit kill-on-exit)))))

(defun smtps-afterwork-test-account (&rest plist)
  "Have one account, the sandbox's, with PLIST."
  (apply #'smtps-real-account :ca-file (smtps-real-property :ca-file) plist))

(defun smtps-afterwork-test-compose (&rest headers)
  "Compose a mail with HEADERS, strings, above all others."
  (message-mail "to-address@other-host.it" "Kept")
  (goto-char (point-min))
  (dolist (header headers)
    (insert header "\n"))
  (message-goto-body)
  (insert "Text for interactive attempt.\nFrom here on, é.\n"))

(defun smtps-afterwork-test-file (name)
  "Return the absolute name of the file NAME in the home."
  (expand-file-name name smtps-real-home))

(defun smtps-afterwork-test-maildir (name)
  "Make a maildir called NAME; return its absolute name."
  (let ((maildir (smtps-afterwork-test-file name)))
    (dolist (part '("cur" "new" "tmp") maildir)
      (make-directory (expand-file-name part maildir) t))))

(defun smtps-afterwork-test-count (text name)
  "Return how often TEXT is in the file NAME in the home; nil without it."
  (let ((content (smtps-real-file name)))
    (and content (1- (length (split-string content (regexp-quote text)))))))

(defun smtps-afterwork-test-in (maildir)
  "Return the names of the mails in MAILDIR, with \"cur/\" or \"new/\"."
  (cl-loop for part in '("cur" "new")
           append (mapcar (lambda (name) (concat part "/" name))
                          (directory-files (expand-file-name part maildir)
                                           nil "\\`[^.]"))))

(defun smtps-afterwork-test-done ()
  "Wait until the one mail was sent and nothing is left to be done of it."
  (smtps-real-until
   (let ((entry (car (smtps-outbox-entries))))
     (and (eq (plist-get entry :state) 'sent)
          (not (smtps-afterwork--file (plist-get entry :directory))))))
  (car (smtps-outbox-entries)))

(defun smtps-afterwork-test-refused ()
  "Have the one account refuse the login."
  (smtps-real-authinfo
   (format "machine localhost login %s password no"
           (smtps-real-property :user))))

;;; Fcc

(ert-deftest smtps-afterwork-test-fcc-comes-after-the-acceptance ()
  "The file is written once the server has accepted, with Bcc, and once."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (smtps-afterwork-test-compose "Fcc: ~/mbox" "Bcc: Blind <b@other-host.it>")
    (let ((drained nil))
      (cl-letf* ((wake (symbol-function 'smtps-send--wake))
                 ((symbol-function 'smtps-send--wake)
                  (lambda (&rest arguments)
                    (setq drained (cons wake arguments)))))
        (message-send))
      (should (equal "" (smtps-real-file "mbox")))
      (should-not (message-fetch-field "Fcc"))
      (apply (car drained) (cdr drained)))
    (let ((entry (smtps-afterwork-test-done)))
      (should (= 2 (length (plist-get entry :recipients)))))
    (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "mbox")))
    (should (= 1 (smtps-afterwork-test-count "\nBcc: Blind <b@other-host.it>\n" "mbox")))
    (should (= 1 (smtps-afterwork-test-count "\n>From here on, =C3=A9.\n" "mbox")))
    (should (= 0 (smtps-afterwork-test-count "Fcc:" "mbox")))))

(ert-deftest smtps-afterwork-test-fcc-into-a-maildir ()
  "The helper delivers into a maildir: seen, in cur/, the octets and Bcc."
  (smtps-afterwork-test-with
    (let ((maildir (smtps-afterwork-test-maildir "Sent")))
      (smtps-afterwork-test-compose "Fcc: ~/Sent" "Bcc: b@other-host.it")
      (message-send)
      (let* ((entry (smtps-afterwork-test-done))
             (names (smtps-afterwork-test-in maildir)))
        (should (= 1 (length names)))
        (should (string-match-p "\\`cur/.+:2,S\\'" (car names)))
        (should (equal (smtps-real-file (concat "Sent/" (car names)))
                       (concat "Bcc: b@other-host.it\n"
                               (smtps-real-file
                                (concat (plist-get entry :directory)
                                        "/message.eml")))))
        (should-not (directory-files (expand-file-name "tmp" maildir)
                                     nil "\\`[^.]"))))))

(ert-deftest smtps-afterwork-test-more-blind-copies-than-a-line-holds ()
  "They are in as many forms as it takes, and in the copies as they were."
  (smtps-afterwork-test-with
    (smtps-afterwork-test-compose "Fcc: ~/Sent" "Fcc: ~/mbox" "Bcc: Blindé <b@other-host.it>")
    (let* ((bcc (concat "Bcc: " (make-string 200000 ?é) "\n"))
           (forms (cl-letf (((symbol-function 'y-or-n-p) #'always))
                    (smtps-afterwork-collect (current-buffer) (list :bcc bcc)))))
      (mapc #'smtps-wire-encode forms)
      (should (equal bcc (mapconcat #'cadr (cl-remove 'bcc forms :key #'car :test-not #'eq)
                                    ""))))
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (let ((maildir (smtps-afterwork-test-maildir "Sent"))
          (smtps-afterwork--bcc-characters 11))
      (message-send)
      (smtps-afterwork-test-done)
      (dolist (copy (list "mbox" (concat "Sent/" (car (smtps-afterwork-test-in maildir)))))
        (should (= 1 (smtps-afterwork-test-count
                      "Bcc: =?utf-8?Q?Blind=C3=A9?= <b@other-host.it>\n" copy)))))))

(ert-deftest smtps-afterwork-test-refused-mail-is-not-filed ()
  "What nobody accepted leaves no copy; edited again, it has its Fcc back."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (smtps-afterwork-test-refused)
    (smtps-afterwork-test-compose "Fcc: ~/mbox")
    (message-send)
    (smtps-real-until (smtps-real-told-p "M-x smtps-answer"))
    (should (equal "" (smtps-real-file "mbox")))
    (let ((entry (car (smtps-outbox-entries))))
      (should-not (smtps-afterwork-accepted-p entry))
      (should-not (smtps-afterwork-run (plist-get entry :id) t))
      (should (equal "" (smtps-real-file "mbox")))
      (with-current-buffer (smtps-outbox-edit-compose entry)
        (should (equal (message-fetch-field "Fcc") "~/mbox"))))))

(ert-deftest smtps-afterwork-test-one-of-two-is-refused ()
  "What follows is done once, whatever is tried for the other one later."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (let ((maildir (smtps-afterwork-test-maildir "Sent"))
          (bad (concat (make-string 65 ?x) "@other-host.it"))
          (ran 0)
          entry)
      (smtps-afterwork-test-compose "Fcc: ~/mbox" "Fcc: ~/Sent" (concat "Cc: " bad))
      (setq message-send-actions (list (lambda () (cl-incf ran))))
      (message-send)
      (dotimes (attempt 2)
        (smtps-real-until
         (and (setq entry (car (smtps-outbox-entries)))
              (eq (plist-get entry :state) 'failed)
              (= (plist-get entry :attempts) (1+ attempt))
              (not (smtps-afterwork--file (plist-get entry :directory)))))
        (should (= ran 1))
        (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "mbox")))
        (should (= 1 (length (smtps-afterwork-test-in maildir))))
        (when (= attempt 0)
          (smtps-outbox)
          (with-current-buffer "*smtps outbox*"
            (goto-char (point-min))
            (smtps-outbox-resend-failed))))
      ;; Nor is what is made of it filed where this one was.
      (with-current-buffer (smtps-outbox-edit-compose entry)
        (should-not (message-fetch-field "Fcc"))
        (should-not (message-fetch-field "To"))
        (should (equal (message-fetch-field "Cc") bad))))))

(ert-deftest smtps-afterwork-test-a-file-is-made-only-if-said-so ()
  "Whether a file is to be made is asked before the mail is sent."
  (smtps-afterwork-test-with
    (smtps-afterwork-test-compose "Fcc: ~/new/mbox")
    (cl-letf (((symbol-function 'y-or-n-p) #'ignore))
      (should (string-match-p
               "does not exist.+Nothing was sent"
               (cadr (should-error (message-send) :type 'user-error)))))
    (should-not (smtps-outbox-entries))
    (cl-letf (((symbol-function 'y-or-n-p) #'always))
      (message-send))
    (smtps-afterwork-test-done)
    (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "new/mbox")))))

(ert-deftest smtps-afterwork-test-a-directory-that-is-no-maildir ()
  (smtps-afterwork-test-with
    (make-directory (smtps-afterwork-test-file "plain"))
    (smtps-afterwork-test-compose "Fcc: ~/plain")
    (should (string-match-p
             "no maildir.+Nothing was sent"
             (cadr (should-error (message-send) :type 'user-error))))
    (should (equal (message-fetch-field "Fcc") "~/plain"))))

(defmacro smtps-afterwork-test-elsewhere (&rest body)
  "Evaluate BODY with /mock:, by which TRAMP takes this machine for another."
  (declare (indent 0) (debug t))
  `(let ((tramp-methods '(("mock" (tramp-login-program "sh") (tramp-login-args (("-i")))
                           (tramp-remote-shell "/bin/sh")
                           (tramp-remote-shell-args ("-c"))
                           (tramp-connection-timeout 10))))
         (tramp-persistency-file-name nil)
         (tramp-verbose 0))
     (unwind-protect (progn ,@body)
       (tramp-cleanup-all-connections))))

(defun smtps-afterwork-test-connected-p ()
  "Return non-nil if TRAMP has connected by /mock:."
  (cl-some (lambda (process) (string-search "mock" (process-name process)))
           (process-list)))

(ert-deftest smtps-afterwork-test-fcc-on-another-machine ()
  "Sending never connects there: the copy is owed until somebody asks for it."
  (smtps-afterwork-test-with
    (smtps-afterwork-test-elsewhere
      (let ((name (concat "/mock:localhost:" (smtps-afterwork-test-file "far"))))
        (smtps-afterwork-test-compose (concat "Fcc: " name)
                                      "Fcc: /mock:localhost:~/never/made")
        ;; A relative name is one there, too, and so it is in mail-mode.
        (setq default-directory (concat "/mock:localhost:" smtps-real-home))
        (should (equal (smtps-message-path "far") name))
        (message-send)
        (smtps-real-until
         (smtps-real-told-p "“Kept”: Not done yet: the copy in /mock:localhost:/.+: it is on \
another machine, and waits for you\\..+was sent; F in"))
        (should (equal '(sent) (smtps-real-state)))
        (with-temp-buffer
          (mail-mode)
          (insert "Fcc: " name "\n" mail-header-separator "\n")
          (should (equal name (smtps-afterwork--get (car (smtps-mail-collect)) :path))))
        (should-not (smtps-afterwork-test-connected-p))
        (smtps-outbox)
        (cl-letf (((symbol-function 'y-or-n-p)
                   (lambda (prompt) (string-search "/far does not exist; create" prompt))))
          (smtps-outbox-follow))
        (should (smtps-afterwork-test-connected-p))
        (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "far")))
        (should (smtps-real-told-p "never/made: there is no such file\\."))))))

(ert-deftest smtps-afterwork-test-a-copy-that-fails-is-told ()
  "It changes nothing about the mail, is shown, and a key tries again."
  (smtps-afterwork-test-with
    (let ((maildir (smtps-afterwork-test-maildir "Sent"))
          entry)
      (smtps-afterwork-test-compose "Fcc: ~/Sent")
      (cl-letf* ((wake (symbol-function 'smtps-send--wake))
                 ((symbol-function 'smtps-send--wake)
                  (lambda (&rest arguments)
                    (delete-directory maildir t)
                    (apply wake arguments))))
        (message-send))
      (smtps-real-until
       (smtps-real-told-p
        "“Kept”: The copy in .+/Sent is missing: .+ is no maildir.+was sent; F in"))
      (setq entry (car (smtps-outbox-entries)))
      (should (eq (plist-get entry :state) 'sent))
      (smtps-outbox)
      (with-current-buffer "*smtps outbox*"
        (goto-char (point-min))
        (should (search-forward "Not done yet: the copy in" nil t))
        (smtps-outbox-show)
        (with-current-buffer "*smtps mail*"
          (goto-char (point-min))
          (should (search-forward "Not done yet: the copy in" nil t)))
        (smtps-afterwork-test-maildir "Sent")
        (smtps-outbox-follow))
      (smtps-afterwork-test-done)
      (should (= 1 (length (smtps-afterwork-test-in maildir))))
      (with-current-buffer "*smtps outbox*"
        (should-error (smtps-outbox-follow) :type 'user-error)))))

(ert-deftest smtps-afterwork-test-server-keeps-sent ()
  "Where the provider files what is sent, no copy is made here."
  (smtps-afterwork-test-with
    (smtps-afterwork-test-account :server-keeps-sent t)
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (smtps-afterwork-test-compose "Fcc: ~/mbox")
    (message-send)
    (should-not (message-fetch-field "Fcc"))
    (smtps-afterwork-test-done)
    (should (equal "" (smtps-real-file "mbox")))))

(ert-deftest smtps-afterwork-test-undo-gives-all-back ()
  "A mail that is taken back has its Fcc, hooks and actions again."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (let ((smtps-send-delay 600)
          (action (lambda () (ert-fail "Run too early"))))
      (smtps-afterwork-test-compose "Fcc: ~/mbox")
      (add-hook 'message-sent-hook action nil t)
      (setq message-send-actions (list action))
      (message-send)
      (should-not (message-fetch-field "Fcc"))
      (smtps-undo-send)
      (should (equal (message-fetch-field "Fcc") "~/mbox"))
      (should (memq action message-sent-hook))
      (should (equal message-send-actions (list action)))
      (should-not smtps-message--deferred))))

(ert-deftest smtps-afterwork-test-batch ()
  "In batch all is done when the send function returns; nothing is asked."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (let ((noninteractive t)
          (maildir (smtps-afterwork-test-maildir "Sent"))
          (ran 0))
      (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'ignore))
        (smtps-afterwork-test-compose "Fcc: ~/none")
        (should (string-match-p
                 "Fcc: .+none does not exist\\.  Nothing was sent"
                 (cadr (should-error (message-send) :type 'user-error))))
        (smtps-afterwork-test-compose "Fcc: ~/mbox" "Fcc: ~/Sent")
        (setq message-send-actions (list (lambda () (cl-incf ran))))
        (message-send))
      (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "mbox")))
      (should (= 1 (length (smtps-afterwork-test-in maildir))))
      (should (= ran 1))
      (should-not (smtps-afterwork-waiting)))))

(ert-deftest smtps-afterwork-test-accepted-while-a-password-is-asked-for ()
  "What is accepted before the send function returns is filed once."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (smtps-afterwork-test-compose "Fcc: ~/mbox")
    (let ((ran 0))
      (setq message-send-actions (list (lambda () (cl-incf ran))))
      (cl-letf* ((wake (symbol-function 'smtps-send--wake))
                 ((symbol-function 'smtps-send--wake)
                  (lambda (&rest arguments)
                    (apply wake arguments)
                    (smtps-real-until (equal (smtps-real-state) '(sent)))
                    (sit-for 0.5)
                    (should (= ran 0)))))
        (message-send))
      (smtps-afterwork-test-done)
      (should (= ran 1))
      (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "mbox"))))))

(ert-deftest smtps-afterwork-test-a-restart ()
  "What was left when Emacs ended is done by the next one."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (let ((maildir (smtps-afterwork-test-maildir "Sent"))
          (saved nil))
      (smtps-afterwork-test-compose "Fcc: ~/mbox" "Fcc: ~/Sent")
      (cl-letf (((symbol-function 'smtps-send--follow) #'ignore))
        (message-send)
        (setq saved (smtps-real-file
                     (concat (plist-get (car (smtps-outbox-entries)) :directory)
                             "/afterwork.sexp")))
        (smtps-real-until (equal (smtps-real-state) '(sent)))
        (let ((directory (plist-get (car (smtps-outbox-entries)) :directory)))
          (smtps-real-until (not (smtps-afterwork-helpers-p directory)))
          (smtps-helper-stop)
          (smtps-real-until (smtps-real-ended-p "smtps-helper"))
          ;; As if the helper had been killed before it came to it.
          (mapc #'delete-file (directory-files-recursively maildir ""))
          (write-region saved nil (concat directory "/afterwork.sexp")
                        nil 'silent)))
      (should (= 1 (length (smtps-afterwork-waiting))))
      (smtps-send-follow-up)
      (smtps-afterwork-test-done)
      (should (= 1 (length (smtps-afterwork-test-in maildir))))
      (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "mbox"))))))

(ert-deftest smtps-afterwork-test-a-client-that-is-not-loaded ()
  "What waits for one is told, once, and done when it is there."
  (smtps-afterwork-test-with
    (smtps-afterwork-test-compose)
    (message-send)
    (smtps-real-until (equal (smtps-real-state) '(sent)))
    (let* ((entry (car (smtps-outbox-entries)))
           (id (plist-get entry :id))
           (directory (plist-get entry :directory))
           (smtps-send--owed nil)
           (smtps-afterwork-clients '((mu4e . smtps-afterwork-test-client))))
      (smtps-outbox--write-forms
       (concat directory "/afterwork.sexp")
       `((afterwork :version 1 :message-id ,(plist-get entry :message-id))
         (fcc :client mu4e :path "/sent" :field "Fcc: /sent\n")))
      (smtps-send--follow id)
      (smtps-send--follow id)
      (should (equal (cl-remove-if-not
                      (lambda (told) (string-search "Not done" told))
                      smtps-real-told)
                     '("“Kept”: Not done yet: the copy in /sent (it waits until mu4e runs)")))
      (let ((looked nil))
        (cl-letf (((symbol-function 'smtps-send-follow-up)
                   (lambda () (setq looked t))))
          (provide 'smtps-afterwork-test-client)
          (run-hook-with-args 'after-load-functions "client.el")
          (smtps-real-until looked))))))

;;; Functions

(ert-deftest smtps-afterwork-test-a-mail-waits-for-its-user-still ()
  "That a copy was made for who has it changes nothing for who has not."
  (let ((smtps-send--waiting nil))
    (smtps-send--note '(:id "x" :state queue :waits secret :host "h" :port 465))
    (smtps-send--note '(:id "x" :state sent :afterwork done :text ""))
    (should (assoc "x" smtps-send--waiting))))

(ert-deftest smtps-afterwork-test-a-key-ends-the-look ()
  "To look through what was sent keeps nobody from typing."
  (let ((looked nil) (timers nil) (unread-command-events nil))
    (cl-letf (((symbol-function 'smtps-afterwork-waiting)
               (lambda () (setq looked t) (throw throw-on-input t)))
              ((symbol-function 'run-with-idle-timer)
               (lambda (&rest arguments) (push arguments timers))))
      (smtps-send-follow-up)
      (should looked)
      (should (equal (mapcar (lambda (timer) (nth 2 timer)) timers)
                     '(smtps-send-follow-up))))))

(ert-deftest smtps-afterwork-test-actions-run-after-the-acceptance ()
  "Hook and actions run in their buffer, which is kept until then."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (smtps-afterwork-test-compose "Fcc: ~/mbox")
    (setq-default message-kill-buffer-on-exit t)
    (let* ((ran nil)
           (buffer (current-buffer))
           (note (lambda (what)
                   (lambda ()
                     (push (list what (current-buffer)
                                 (message-fetch-field "Fcc")
                                 (plist-get (car (smtps-outbox-entries)) :state))
                           ran)))))
      (add-hook 'message-sent-hook (funcall note 'hook) nil t)
      (setq message-send-actions (list (funcall note 'action)))
      (message-send-and-exit)
      (should-not ran)
      (set-window-buffer nil (get-buffer-create "*elsewhere*"))
      (smtps-real-until ran)
      (should (equal (nreverse ran)
                     `((hook ,buffer "~/mbox" sent)
                       (action ,buffer "~/mbox" sent))))
      (smtps-real-until (not (buffer-live-p buffer)))
      (smtps-afterwork-test-done)
      (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "mbox"))))))

(ert-deftest smtps-afterwork-test-actions-without-their-buffer ()
  "What needs the buffer, which is gone, is shown as not done."
  (smtps-afterwork-test-with
    (smtps-afterwork-test-compose)
    (setq message-send-actions (list #'ignore))
    (message-send)
    (kill-buffer)
    (smtps-real-until
     (smtps-real-told-p "Not done yet: what message-send-actions does: the buffer.+gone"))
    (should (equal (smtps-real-state) '(sent)))))

(ert-deftest smtps-afterwork-test-actions-of-an-emacs-that-is-gone ()
  "They are never run by another; F asks whether to forget them."
  (smtps-afterwork-test-with
    (smtps-afterwork-test-compose)
    (setq message-send-actions (list #'ignore))
    (cl-letf (((symbol-function 'smtps-afterwork-here)
               (lambda () (format "999999999-1.%s" (smtps-afterwork--host)))))
      (message-send))
    (smtps-real-until (equal (smtps-real-state) '(sent)))
    (let ((entry (car (smtps-outbox-entries))))
      (smtps-real-until (not (smtps-afterwork-helpers-p (plist-get entry :directory))))
      (should-not (smtps-afterwork-run (plist-get entry :id) t))
      (should (string-match-p "and that is gone"
                              (smtps-afterwork-sentence
                               (car (smtps-afterwork-left entry)))))
      (smtps-outbox)
      (with-current-buffer "*smtps outbox*"
        (goto-char (point-min))
        (cl-letf (((symbol-function 'yes-or-no-p) #'always))
          (smtps-outbox-follow)))
      (should-not (smtps-afterwork--file (plist-get entry :directory))))))

(ert-deftest smtps-afterwork-test-fcc-to-a-program ()
  "A program gets the mail only from the Emacs that was told so."
  (smtps-afterwork-test-with
    (smtps-afterwork-test-compose "Fcc: | cat > ~/piped")
    (message-send)
    (should-not (smtps-real-file "piped"))
    (smtps-afterwork-test-done)
    (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "piped")))))

;;; One owner

(ert-deftest smtps-afterwork-test-claimed-by-another ()
  "What a living process works on is left alone, what a dead one did is done."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (smtps-afterwork-test-compose "Fcc: ~/mbox")
    (cl-letf (((symbol-function 'smtps-send--follow) #'ignore))
      (message-send)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (let* ((entry (car (smtps-outbox-entries)))
             (id (plist-get entry :id))
             (directory (plist-get entry :directory))
             (host (smtps-afterwork--host))
             (claimed (lambda (format-string &rest arguments)
                        (rename-file
                         (concat directory "/" (smtps-afterwork--file directory))
                         (concat directory "/afterwork."
                                 (apply #'format format-string arguments)))
                        (smtps-afterwork-run id)
                        (smtps-afterwork--file directory))))
        (smtps-real-until (not (smtps-afterwork-helpers-p directory)))
        (should (funcall claimed "locked"))
        (should (funcall claimed "1-%s.%s" (smtps-afterwork--started 1) host))
        (should (funcall claimed "1.%s" host))
        (should (funcall claimed "999999999.elsewhere"))
        (should (equal "" (smtps-real-file "mbox")))
        ;; The number of one that is gone is another's now; or nothing is
        ;; known of it, but that it is long ago; or it is gone.
        (let ((saved (smtps-real-file
                      (concat directory "/" (smtps-afterwork--file directory)))))
          (pcase-dolist (`(,seconds . ,name)
                         `((86400 . ,(concat "1-1." host))
                           (0 . ,(concat "1." host))
                           (0 . "1-1.elsewhere")
                           (86400 . ,(concat "999999999." host))))
            (write-region "" nil (smtps-afterwork-test-file "mbox"))
            (write-region saved nil (concat directory "/afterwork.sexp"))
            (ignore-error file-error
              (delete-file (concat directory "/afterwork.999999999.elsewhere")))
            (let ((smtps-afterwork--claimed-seconds seconds))
              (should-not (funcall claimed name)))
            (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "mbox")))))))))

(ert-deftest smtps-afterwork-test-what-is-no-longer-its-own-is-left ()
  "Who was at it for so long that another has it now, leaves it to that one."
  (smtps-afterwork-test-with
    (dolist (name '("mbox" "other"))
      (with-temp-file (smtps-afterwork-test-file name)))
    (smtps-afterwork-test-compose "Fcc: ~/mbox" "Fcc: ~/other")
    (cl-letf (((symbol-function 'smtps-send--follow) #'ignore))
      (message-send)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (let* ((entry (car (smtps-outbox-entries)))
             (directory (plist-get entry :directory))
             (file (symbol-function 'smtps-message--file)))
        (smtps-real-until (not (smtps-afterwork-helpers-p directory)))
        (cl-letf (((symbol-function 'smtps-message--file)
                   (lambda (&rest arguments)
                     (apply file arguments)
                     (rename-file (concat directory "/" (smtps-afterwork--claim))
                                  (concat directory "/afterwork.locked")))))
          (should-not (smtps-afterwork-run (plist-get entry :id))))
        (should (equal (smtps-afterwork--file directory) "afterwork.locked"))
        (should (= 1 (+ (smtps-afterwork-test-count "Subject: Kept" "mbox")
                        (smtps-afterwork-test-count "Subject: Kept" "other"))))))))

(ert-deftest smtps-afterwork-test-an-emacs-on-a-machine-of-another-name ()
  "It is named, and the one who knows whether it is there can have it forgotten."
  (let ((form '(action :client message :here "1-1.elsewhere" :what "x")))
    (should (smtps-afterwork-lost-p form))
    (should (string-match-p "composed in could do it, and that is on elsewhere"
                            (smtps-afterwork-sentence form))))
  ;; The same Emacs stays so, whatever its machine is called meanwhile.
  (let ((form `(action :client message :here ,(smtps-afterwork-here))))
    (cl-letf (((symbol-function 'system-name) (lambda () "renamed")))
      (should-not (smtps-afterwork-lost-p form)))))

(ert-deftest smtps-afterwork-test-killed-after-the-copy-was-made ()
  "Who goes on after a kill finds the copy, and makes no second one."
  (smtps-afterwork-test-with
    (with-temp-file (smtps-afterwork-test-file "mbox"))
    (smtps-afterwork-test-compose "Fcc: ~/mbox")
    (cl-letf (((symbol-function 'smtps-send--follow) #'ignore))
      (message-send)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (let* ((entry (car (smtps-outbox-entries)))
             (directory (plist-get entry :directory)))
        (smtps-real-until (not (smtps-afterwork-helpers-p directory)))
        (copy-file (concat directory "/afterwork.sexp")
                   (concat directory "/saved"))
        (smtps-afterwork-run (plist-get entry :id))
        (copy-file (concat directory "/saved") (concat directory "/again"))
        (rename-file (concat directory "/saved")
                     (format "%s/afterwork.999999999.%s" directory
                             (smtps-afterwork--host)))
        ;; The helper may just be looking at it, too.
        (smtps-real-until (progn (smtps-afterwork-run (plist-get entry :id))
                                 (not (smtps-afterwork--file directory))))
        ;; It leaves it so.
        (with-temp-buffer
          (insert-file-contents-literally (concat directory "/again"))
          (search-forward ":version 1")
          (insert " :resumed t")
          (write-region nil nil (concat directory "/afterwork.sexp") nil 'silent))
        (smtps-real-until (progn (smtps-afterwork-run (plist-get entry :id))
                                 (not (smtps-afterwork--file directory))))
        (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "mbox")))))))

;;; mail-mode

(ert-deftest smtps-afterwork-test-mail-mode ()
  "Its Fcc and its actions wait for the acceptance, too."
  (smtps-afterwork-test-with
    (let ((send-mail-function #'smtps-send-it)
          (mail-interactive nil)
          (mail-archive-file-name nil)
          (ran nil))
      (switch-to-buffer (generate-new-buffer "*mail*"))
      (mail-mode)
      (mail-setup "to-address@other-host.it" "Kept" nil nil nil
                  `((,(lambda (state)
                        (push state ran))
                     done))
                  nil)
      (goto-char (point-min))
      (insert "Fcc: ~/old\nBcc: Blindé <b@other-host.it>\n")
      (goto-char (point-max))
      (insert "Text.\n")
      (mail-send)
      (should-not ran)
      (should-not (smtps-real-file "old"))
      (smtps-afterwork-test-done)
      (should (equal ran '(done)))
      (should (= 1 (smtps-afterwork-test-count "Subject: Kept" "old")))
      (should (= 1 (smtps-afterwork-test-count "\nDate: " "old")))
      (should (= 1 (smtps-afterwork-test-count "<b@other-host.it>" "old"))))))

(provide 'smtps-afterwork-test)
;;; smtps-afterwork-test.el ends here
