;;; smtps-send-test.el --- From a mail buffer into the outbox  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'auth-source)
(require 'cl-lib)
(require 'message)
(require 'sendmail)
(require 'smtps-send)
(require 'smtps-helper)

(defvar smtpmail-queue-mail)

;;; A helper that is none

(defvar smtps-send-test-calls nil
  "The calls that the stand-in of the helper got, last first.")

(defvar smtps-send-test-told nil
  "The sentences that were told, last first.")

(defvar smtps-send-test-fate 'sent
  "What the stand-in of the helper does: `sent', `failed', `deferred', `later',
`login', `trust', `nothing', `missing' or `dead'.")

(defconst smtps-send-test-key
  "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
  "The key of a server that is not trusted.")

(defun smtps-send-test-journal (id state form)
  "Write FORM into the journal of the mail ID that lies in STATE."
  (let ((coding-system-for-write 'utf-8-unix))
    (write-region (concat (smtps-wire-print form) "\n") nil
                  (smtps-outbox--directory state id "journal.sexp")
                  t 'silent)))

(defun smtps-send-test-drain ()
  "Do with the queue what `smtps-send-test-fate' says."
  (dolist (id (smtps-outbox--names "queue"))
    (pcase-let ((`(,state ,verdict ,next ,waits)
                 (pcase smtps-send-test-fate
                   ('sent '("sent" accepted nil nil))
                   ('failed '("failed" refused nil nil))
                   ('deferred '("queue" deferred 4000000000 nil))
                   ('later '("queue" later nil secret))
                   ('login '("queue" login nil secret))
                   ('trust '("queue" login nil trust)))))
      (when state
        (unless (equal state "queue")
          (rename-file (smtps-outbox--directory "queue" id)
                       (smtps-outbox--directory state id)))
        (let ((outcome `(:verdict ,verdict :text ,(format "It is %s." verdict)
                                  :next ,next)))
          (smtps-send-test-journal id state '(attempt :number 1 :time 1))
          (smtps-send-test-journal id state `(outcome :attempt 1 ,@outcome))
          (smtps-send--event `(:id ,id :state ,(intern state)
                                   :host "relay.poste.it" :port 465
                                   :key ,(and (eq waits 'trust)
                                              smtps-send-test-key)
                                   :waits ,waits ,@outcome)))))))

(cl-defun smtps-send-test-call (method args &key else &allow-other-keys)
  "Stand in for `smtps-helper-call' with METHOD, ARGS and ELSE."
  (push (cons method args) smtps-send-test-calls)
  (pcase smtps-send-test-fate
    ('missing (funcall else '(smtps-helper-missing "There is no python3.")))
    ('dead (signal 'smtps-helper-dead '("The helper died.")))
    (_ (smtps-send-test-drain))))

(defvar smtps-send-test-home nil
  "The directory of the running test.")

(defmacro smtps-send-test-with (fate &rest body)
  "Evaluate BODY in a world of its own; the helper does FATE with mail."
  (declare (indent 1) (debug t))
  `(let* ((smtps-send-test-home (make-temp-file "smtps-send" t))
          (smtps-outbox-directory
           (expand-file-name "outbox" smtps-send-test-home))
          (smtps-send-test-fate ,fate)
          (smtps-send-test-calls nil)
          (smtps-send-test-told nil)
          (smtps-send--told nil)
          (smtps-send--waiting nil)
          (smtps-credentials--passphrases nil)
          (smtps-credentials--given nil)
          (smtps-credentials--keys-wanted nil)
          (smtps-send--trouble nil)
          (smtps-send--again nil)
          (smtps-send--sought nil)
          (smtps-send-tell-function
           (lambda (sentence) (push sentence smtps-send-test-told)))
          (smtps-accounts '(("poste" :host "relay.poste.it" :user "u")))
          (smtps-credentials--memory nil)
          (smtps-credentials--refused nil)
          (smtps-credentials--wanted nil)
          (auth-sources nil)
          (user-full-name "Me")
          (user-mail-address "me@poste.it")
          (mail-host-address "poste.it")
          (message-send-mail-function #'smtps-send-it)
          (send-mail-function #'smtps-send-it)
          (message-auto-save-directory nil)
          (mail-personal-alias-file "/nonexistent")
          (mail-aliases t)
          (message-interactive t)
          (message-confirm-send nil)
          (message-default-mail-headers "")
          (message-default-headers "")
          (message-signature nil)
          (mail-signature nil)
          (mail-self-blind nil)
          (mail-archive-file-name nil)
          (before (buffer-list)))
     (unwind-protect
         (cl-letf (((symbol-function 'smtps-helper-call)
                    #'smtps-send-test-call)
                   ((symbol-function 'smtps-helper-live-p) #'always)
                   ;; Who can be asked in a test of batch?
                   ((symbol-function 'smtps-credentials--can-ask-p)
                    #'ignore))
           ,@body)
       (dolist (buffer (buffer-list))
         (unless (memq buffer before)
           (with-current-buffer buffer
             (set-buffer-modified-p nil)
             (setq buffer-file-name nil))
           (kill-buffer buffer)))
       (delete-directory smtps-send-test-home t))))

(defun smtps-send-test-compose (to &optional headers body)
  "Compose a mail to TO in message-mode with HEADERS, an alist, and BODY."
  (message-mail to "Interactive attempt" headers)
  (message-goto-body)
  (insert (or body "Text for interactive attempt.\n")))

(defun smtps-send-test-compose-old (to &optional headers body)
  "Compose a mail to TO in mail-mode with HEADERS, text, and BODY."
  (switch-to-buffer (generate-new-buffer "*mail*"))
  (mail-mode)
  (insert "To: " to "\nSubject: Interactive attempt\n" (or headers "")
          mail-header-separator "\n"
          (or body "Text for interactive attempt.\n")))

(defun smtps-send-test-entry (&optional state)
  "Return the only mail in the outbox, which must lie in STATE."
  (let ((entries (smtps-outbox-entries)))
    (should (eql (length entries) 1))
    (when state
      (should (eq (plist-get (car entries) :state) state)))
    (car entries)))

(defun smtps-send-test-octets (&optional entry)
  "Return the octets of the message of ENTRY, or of the only one."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert-file-contents-literally
     (concat (plist-get (or entry (smtps-send-test-entry)) :directory)
             "/message.eml"))
    (buffer-string)))

(defun smtps-send-test-header (octets)
  "Return the header of OCTETS."
  (substring octets 0 (1+ (string-match "\n\n" octets))))

(defun smtps-send-test-refused (function)
  "Return the sentence with which FUNCTION refuses a mail.
Nothing may be left of that mail."
  (let ((sentence (cadr (should-error (funcall function) :type 'user-error))))
    (should-not (and (file-directory-p smtps-outbox-directory)
                     (or (smtps-outbox-entries)
                         (directory-files
                          (smtps-outbox--directory "tmp") nil "[a-z]"))))
    (should-not smtps-send-test-calls)
    sentence))

;;; message-mode

(ert-deftest smtps-send-test-message-mode ()
  (smtps-send-test-with 'sent
    (smtps-send-test-compose "To <to@other-host.it>, b@z.example"
                             '((Cc . "c@z.example, to@other-host.it")
                               (Bcc . "secret@z.example")))
    (should (message-send))
    (let* ((entry (smtps-send-test-entry 'sent))
           (octets (smtps-send-test-octets)))
      (should (equal (plist-get entry :recipients)
                     '("to@other-host.it" "b@z.example" "c@z.example"
                       "secret@z.example")))
      (should (equal (plist-get entry :from) "me@poste.it"))
      (should (equal (plist-get (plist-get entry :account) :name) "poste"))
      (should (string-search (plist-get entry :message-id) octets))
      (should (string-match-p "\\`From: Me <me@poste.it>$" octets))
      (should (string-suffix-p "\n\nText for interactive attempt.\n" octets))
      (should-not (string-match-p "secret\\|bcc" octets))
      (should-not (string-search mail-header-separator octets))
      (should (equal (car smtps-send-test-calls)
                     (list 'outbox-drain :outbox
                           (expand-file-name smtps-outbox-directory)
                           :keep-sent-days 365))))))

(ert-deftest smtps-send-test-send-and-exit ()
  (smtps-send-test-with 'sent
    (smtps-send-test-compose "to@other-host.it")
    (let ((message-kill-buffer-on-exit t)
          (buffer (current-buffer)))
      (message-send-and-exit)
      (should-not (buffer-live-p buffer)))
    (smtps-send-test-entry 'sent)))

(ert-deftest smtps-send-test-unicode ()
  "message.el makes the MIME; its octets go out as they are."
  (smtps-send-test-with 'sent
    (smtps-send-test-compose "Jörg <to@y.example>" '((Subject . "Grüße"))
                             "Zwölf Boxkämpfer — ☃\n")
    (message-send)
    (let ((octets (smtps-send-test-octets)))
      (should-not (multibyte-string-p octets))
      (should (string-match-p "^MIME-Version: 1.0$" octets))
      (should (string-match-p "charset=utf-8" octets))
      (should (equal (plist-get (smtps-send-test-entry) :recipients)
                     '("to@y.example"))))))

(ert-deftest smtps-send-test-bcc-never-leaves ()
  "In no spelling, folded or not, of old or new."
  (dolist (bcc '("Bcc: secret@z.example\n" "BCC:secret@z.example\n"
                 "bcc :\tsecret@z.example\n"
                 "Bcc: one@z.example,\n secret@z.example\n"
                 "Bcc:\n secret@z.example\n"
                 "Bcc: secret@z.example\nBcc: two@z.example\n"))
    (smtps-send-test-with 'sent
      (with-temp-buffer
        (insert "From: me@poste.it\n" bcc "To: to@y.example\n\nText\n")
        (smtps-send-buffer))
      (let ((octets (smtps-send-test-octets)))
        (should-not (string-match-p "secret\\|[bB][cC][cC]" octets))
        (should (string-match-p "^To: to@y.example$" octets))
        (should (member "secret@z.example"
                        (plist-get (smtps-send-test-entry) :recipients)))))))

(ert-deftest smtps-send-test-bcc-of-a-mail-inside-stays ()
  (smtps-send-test-with 'sent
    (with-temp-buffer
      (insert "From: me@poste.it\nTo: to@y.example\n\nText\nBcc: x@y\n")
      (smtps-send-buffer))
    (should (string-suffix-p "\n\nText\nBcc: x@y\n" (smtps-send-test-octets)))
    (should (equal (plist-get (smtps-send-test-entry) :recipients)
                   '("to@y.example")))))

(ert-deftest smtps-send-test-resend ()
  "Only those it is sent on to get it; every Bcc is dropped."
  (smtps-send-test-with 'sent
    (with-temp-buffer
      (insert "From: author@x.example\nTo: old@y.example\n"
              "Bcc: oldsecret@y.example\nMessage-ID: <old@x>\n"
              "Date: Mon, 01 Jan 2024 00:00:00 +0000\n\nText\n")
      (message-resend "new@z.example"))
    (let ((entry (smtps-send-test-entry))
          (octets (smtps-send-test-octets)))
      (should (equal (plist-get entry :recipients) '("new@z.example")))
      (should (equal (plist-get entry :from) "me@poste.it"))
      (should (string-match-p "^Resent-To: new@z.example$" octets))
      (should (string-match-p "^From: author@x.example$" octets))
      (should-not (string-match-p "oldsecret" octets)))))

(ert-deftest smtps-send-test-partially ()
  (smtps-send-test-with 'sent
    (let ((message-send-mail-partially-limit 800))
      (smtps-send-test-compose
       "to@y.example" '((Bcc . "secret@z.example"))
       (apply #'concat (make-list 40 "A line of text, and another word.\n")))
      (cl-letf (((symbol-function 'y-or-n-p) #'always))
        (message-send)))
    (let ((entries (smtps-outbox-entries)))
      (should (< 1 (length entries)))
      (dolist (entry entries)
        (should (equal (plist-get entry :recipients)
                       '("to@y.example" "secret@z.example")))
        (should-not (string-search "secret" (smtps-send-test-octets entry)))
        (should (string-search "message/partial"
                               (smtps-send-test-octets entry)))))))

(ert-deftest smtps-send-test-hook-runs-once ()
  "`message-send-mail-hook' runs, whichever way message.el came here."
  (dolist (function (list #'smtps-send-it #'message-use-send-mail-function))
    (smtps-send-test-with 'sent
      (let* ((message-send-mail-function function)
             (runs 0)
             (message-send-mail-hook (list (lambda () (cl-incf runs)))))
        (smtps-send-test-compose "to@y.example")
        (message-send)
        (should (eql runs 1))))))

(ert-deftest smtps-send-test-fcc-and-actions-of-message ()
  "What message.el does afterwards, it does."
  (smtps-send-test-with 'sent
    (let ((fcc (expand-file-name "fcc" smtps-send-test-home))
          (message-fcc-handler-function
           (lambda (file) (write-region nil nil file nil 'silent))))
      (smtps-send-test-compose "to@y.example" `((Fcc . ,fcc)))
      (message-send)
      (should (file-exists-p fcc))
      (should-not (string-match-p "^Fcc" (smtps-send-test-octets)))
      (should (memq 'mail message-sent-message-via)))))

(ert-deftest smtps-send-test-smtp-method ()
  "A mail that asks for a server of its own gets it, by smtps."
  (smtps-send-test-with 'sent
    (smtps-send-test-compose
     "to@y.example" '((X-Message-SMTP-Method . "smtp mail.else.example 465 me")))
    (let ((message-send-hook (list #'smtps-send-divert)))
      (message-send))
    (let ((account (plist-get (smtps-send-test-entry) :account)))
      (should (equal (plist-get account :host) "mail.else.example"))
      (should (equal (plist-get account :port) 465))
      (should (eq (plist-get account :tls) 'implicit))
      (should (equal (plist-get account :user) "me")))
    (should-not (string-match-p "SMTP-Method" (smtps-send-test-octets)))))

(ert-deftest smtps-send-test-no-smtp-method ()
  "A mail without one, or with one for sendmail, is message.el's own affair."
  (dolist (headers '(nil ((X-Message-SMTP-Method . "sendmail"))))
    (smtps-send-test-with 'sent
      (smtps-send-test-compose "to@y.example" headers)
      (smtps-send-divert)
      (should-not message-send-mail-real-function))))

(ert-deftest smtps-send-test-account-by-from ()
  (smtps-send-test-with 'sent
    (let ((smtps-accounts '(("a" :host "a.example" :from "a@a.example")
                            ("b" :host "b.example" :from "me@poste.it"))))
      (smtps-send-test-compose "to@y.example")
      (message-send)
      (should (equal (plist-get (plist-get (smtps-send-test-entry) :account)
                                :host)
                     "b.example")))))

(ert-deftest smtps-send-test-envelope-sender ()
  (dolist (case '((nil "bounce@x.example" "me@poste.it")
                  (t "bounce@x.example" "bounce@x.example")
                  (t header "me@poste.it") (t nil "me@poste.it")))
    (pcase-let ((`(,specify ,sender ,expected) case))
      (smtps-send-test-with 'sent
        (let ((mail-specify-envelope-from specify)
              (mail-envelope-from sender))
          (smtps-send-test-compose "to@y.example")
          (message-send)
          (should (equal (plist-get (smtps-send-test-entry) :from)
                         expected)))))))

(ert-deftest smtps-send-test-queue-mail ()
  "Where the user queues mail by hand (mu4e's `m'), it is held."
  (smtps-send-test-with 'sent
    (let ((smtpmail-queue-mail t))
      (smtps-send-test-compose "to@y.example")
      (message-send))
    (smtps-send-test-entry 'held)
    (should-not smtps-send-test-calls)))

;;; mail-mode

(ert-deftest smtps-send-test-mail-mode ()
  (smtps-send-test-with 'sent
    (smtps-send-test-compose-old "to@y.example" "BCC: secret@z.example\n")
    (mail-send)
    (let ((octets (smtps-send-test-octets)))
      (should (equal (plist-get (smtps-send-test-entry 'sent) :recipients)
                     '("to@y.example" "secret@z.example")))
      (should (string-match-p "^From: Me <me@poste.it>$" octets))
      (should (string-match-p "^Date: [A-Z][a-z][a-z], [ 0-9]" octets))
      (should (string-match-p "^Message-ID: <.+@poste.it>$" octets))
      (should-not (string-match-p "secret\\|bcc" octets))
      (should (string-suffix-p "\n\nText for interactive attempt.\n" octets)))
    ;; A copy was made of: the buffer still has what the user wrote.
    (should (string-search "secret@z.example" (buffer-string)))))

(ert-deftest smtps-send-test-mail-mode-unicode ()
  "Text is made MIME and octets, without a question; MML means nothing there."
  (smtps-send-test-with 'sent
    (smtps-send-test-compose-old "Jörg <to@y.example>" nil
                                 "Zwölf <#part type=text/plain> ☃\n")
    (cl-letf (((symbol-function 'select-message-coding-system)
               (lambda (&rest _) (ert-fail "it asks"))))
      (mail-send))
    (let ((octets (smtps-send-test-octets)))
      (should-not (string-match-p "[\200-\377]"
                                  (smtps-send-test-header octets)))
      (should (string-match-p "^To: =\\?utf-8\\?.* <to@y.example>$" octets))
      (with-temp-buffer
        (set-buffer-multibyte nil)
        (insert octets)
        (let ((parts (mm-dissect-buffer t)))
          (should (equal (mm-handle-media-type parts) "text/plain"))
          (should (string-search
                   "Zwölf <#part type=text/plain> ☃"
                   (decode-coding-string (mm-get-part parts) 'utf-8)))
          (mm-destroy-parts parts))))))

(ert-deftest smtps-send-test-mail-mode-aliases ()
  (smtps-send-test-with 'sent
    (smtps-send-test-compose-old "friends")
    (let ((mail-aliases '(("friends" . "a@x.example, b@y.example"))))
      (mail-send))
    (should (equal (plist-get (smtps-send-test-entry) :recipients)
                   '("a@x.example" "b@y.example")))))

(ert-deftest smtps-send-test-mail-mode-fcc ()
  (smtps-send-test-with 'sent
    (let ((fcc (expand-file-name "fcc" smtps-send-test-home)))
      (smtps-send-test-compose-old "to@y.example" (format "FCC: %s\n" fcc))
      (mail-send)
      (with-temp-buffer
        (insert-file-contents fcc)
        (should (search-forward "Text for interactive attempt." nil t)))
      (should-not (string-match-p "fcc" (smtps-send-test-octets))))))

(ert-deftest smtps-send-test-mail-mode-empty-lines-and-subject ()
  (smtps-send-test-with 'sent
    (switch-to-buffer (generate-new-buffer "*mail*"))
    (mail-mode)
    (insert "To: to@y.example\n\nSubject:\n\n" mail-header-separator
            "\nText")
    (mail-send)
    (let ((octets (smtps-send-test-octets)))
      (should-not (string-match-p "^Subject" octets))
      (should (string-match-p "^To: to@y.example$"
                              (smtps-send-test-header octets)))
      (should (string-suffix-p "\n\nText\n" octets)))))

;;; Other buffers

(ert-deftest smtps-send-test-any-buffer ()
  (smtps-send-test-with 'sent
    (with-temp-buffer
      (set-buffer-multibyte nil)
      (insert "From someone Mon Jan  1 00:00:00 2024\r\n"
              "From: me@poste.it\r\nTo: to@y.example\r\n"
              "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=latin1\r\n"
              "\r\nZw\366lf\r\n")
      (smtps-send-buffer))
    (let ((octets (smtps-send-test-octets)))
      (should (string-prefix-p "From: me@poste.it\n" octets))
      (should (string-suffix-p "\n\nZw\366lf\n" octets)))))

(ert-deftest smtps-send-test-a-file-as-it-was ()
  "A message in a file that Emacs decoded gets the file's octets back."
  (smtps-send-test-with 'sent
    (let ((file (expand-file-name "m.eml" smtps-send-test-home))
          (coding-system-for-write 'no-conversion))
      (write-region (concat "From: me@poste.it\nTo: to@y.example\nDate: x\n"
                            "Message-ID: <1@x>\nMIME-Version: 1.0\n"
                            "Content-Type: text/plain; charset=iso-8859-1\n"
                            "\nZw\366lf\n")
                    nil file nil 'silent)
      (with-current-buffer (let ((coding-system-for-read 'iso-8859-1))
                             (find-file-noselect file))
        (smtps-send-buffer))
      (should (equal (smtps-send-test-octets)
                     (with-temp-buffer
                       (set-buffer-multibyte nil)
                       (insert-file-contents-literally file)
                       (buffer-string)))))))

(ert-deftest smtps-send-test-not-a-mail ()
  (dolist (text '("" "Dear all,\n\nfrom me\n" ";; Lisp\n(defun x ())\n"
                  "\n\nFrom: a@b\n"))
    (smtps-send-test-with 'sent
      (with-temp-buffer
        (insert text)
        (smtps-send-test-refused #'smtps-send-buffer)))))

;;; Refusals

(ert-deftest smtps-send-test-no-recipients ()
  (smtps-send-test-with 'sent
    (with-temp-buffer
      (insert "From: me@poste.it\nTo: undisclosed-recipients:;\nCc:\n\nText\n")
      (should (string-match-p "no recipients.+Nothing was sent"
                              (smtps-send-test-refused #'smtps-send-buffer))))))

(ert-deftest smtps-send-test-no-recipients-in-message-mode ()
  "message.el sees that first, and would speak of methods."
  (dolist (headers '(nil ((Cc . "")) ((Bcc . " "))))
    (smtps-send-test-with 'sent
      (let ((message-send-hook (list #'smtps-send-check-recipients)))
        (smtps-send-test-compose "" headers)
        (should (string-match-p "\\`The mail has no recipients.+Nothing was sent"
                                (smtps-send-test-refused #'message-send-and-exit)))
        (should (string-search "Text for interactive attempt." (buffer-string))))))
  (dolist (headers '(((Cc . "a@b.example")) ((Bcc . "a@b.example"))))
    (smtps-send-test-with 'sent
      (smtps-send-test-compose "" headers)
      (smtps-send-check-recipients))))

(ert-deftest smtps-send-test-no-sender ()
  (smtps-send-test-with 'sent
    (with-temp-buffer
      (insert "To: to@y.example\n\nText\n")
      (should (string-match-p "no sender"
                              (smtps-send-test-refused #'smtps-send-buffer))))))

(ert-deftest smtps-send-test-line-break-in-an-address ()
  (dolist (to '("<to@y.example\n RCPT TO:<evil@x>>" "<to@y.ex\n ample>"
                "\"a\n b\"@y.example" "<to@y.example\rRSET>" "to\0@y.example"
                "<to@y.example\u0085>" "a@b.example\u202e"))
    (smtps-send-test-with 'sent
      (with-temp-buffer
        (insert "From: me@poste.it\nTo: " to "\n\nText\n")
        (should (string-match-p
                 "Nothing was sent"
                 (smtps-send-test-refused #'smtps-send-buffer)))))
    ;; The last two, message.el makes visible by itself (IDNA).
    (unless (string-match-p "[^[:ascii:]]" to)
      (smtps-send-test-with 'sent
        (smtps-send-test-compose "x@y.example")
        (save-excursion
          (message-goto-to)
          (insert ", " to))
        ;; Whatever message.el asks, the user insists.
        (cl-letf (((symbol-function 'message-fix-before-sending) #'ignore)
                  ((symbol-function 'y-or-n-p) #'always))
          (smtps-send-test-refused #'message-send))
        ;; And the mail is still in its buffer, to be mended.
        (should (string-search "Text for interactive attempt"
                               (buffer-string)))
        (should-not message-sent-message-via)))))

(ert-deftest smtps-send-test-says-line-break ()
  (smtps-send-test-with 'sent
    (with-temp-buffer
      (insert "From: me@poste.it\nTo: <to@y.ex\n ample>\n\nText\n")
      (should (string-match-p "in To has a line break"
                              (smtps-send-test-refused #'smtps-send-buffer))))))

(ert-deftest smtps-send-test-bad-account ()
  (smtps-send-test-with 'sent
    (let ((smtps-accounts '(("x" :host ""))))
      (smtps-send-test-compose "to@y.example")
      (should (string-match-p "Account \"x\""
                              (smtps-send-test-refused #'message-send))))))

(ert-deftest smtps-send-test-unwritable-outbox ()
  (smtps-send-test-with 'sent
    (let ((smtps-outbox-directory "/proc/self/smtps"))
      (smtps-send-test-compose "to@y.example")
      (should (string-match-p
               "Nothing was sent or kept"
               (cadr (should-error (message-send) :type 'user-error))))
      (should-not message-sent-message-via)
      (should (buffer-modified-p)))))

;;; Addresses

(ert-deftest smtps-send-test-local-part-beyond-ascii ()
  "message.el makes encoded words of such an address, which is sent as it is."
  (dolist (case '(("jörg@y.example" ("jörg@y.example") "To: jörg@y.example")
                  ("Jörg Ä <jörg@exämple.it>, b@c.example"
                   ("jörg@xn--exmple-cua.it" "b@c.example")
                   "To: Jörg Ä <jörg@xn--exmple-cua.it>, b@c.example")
                  ("\"Jörg\" <j.ö.g@y.example>" ("j.ö.g@y.example") "j.ö.g@y.example>")
                  ("用户@y.example, Ünn <ünn@y.example>"
                   ("用户@y.example" "ünn@y.example") "用户@y.example")))
    (smtps-send-test-with 'sent
      (smtps-send-test-compose (car case) '(("Cc" . "Bär <ascii@y.example>")
                                            ("Reply-To" . "Jé <jé@y.example>")))
      (cl-letf (((symbol-function 'y-or-n-p) #'always))
        (message-send))
      (let ((entry (smtps-send-test-entry 'sent)))
        (should (equal (plist-get entry :recipients)
                       (append (nth 1 case) '("ascii@y.example"))))
        (with-temp-buffer
          (insert-file-contents (concat (plist-get entry :directory) "/message.eml"))
          (should (search-forward (nth 2 case) nil t))
          (goto-char (point-min))
          (should (re-search-forward "^Reply-To: Jé <jé@y\\.example>$" nil t))
          (goto-char (point-min))
          ;; A name stays an encoded word.
          (should (re-search-forward "^Cc: =\\?utf-8\\?.+ <ascii@" nil t)))))))

(ert-deftest smtps-send-test-local-part-that-can-be-two-things ()
  (smtps-send-test-with 'sent
    (with-temp-buffer
      (set-buffer-multibyte nil)
      (insert "From: me@poste.it\nTo: =?utf-8?Q?M=C3=BCller=2C_ann=C3=A9?=@y.example\n\n")
      (should (string-match-p "is not a mail address"
                              (smtps-send-test-refused #'smtps-send-buffer))))))

(ert-deftest smtps-send-test-addresses ()
  (dolist (case '(("a@b" "a@b") ("<a@b>" "a@b") (" A B  <a@b> " "a@b")
                  ("\"B, A\" <a@b>, c@d" "a@b" "c@d")
                  ("a@b (Comment, with (nested) comma)" "a@b")
                  ("\"a b\"@c" "\"a b\"@c") ("<\"a>b\"@c>" "\"a>b\"@c")
                  ("friends: a@b, C <c@d>;, e@f" "a@b" "c@d" "e@f")
                  ("undisclosed-recipients:;") ("") (" ,, ")
                  ("a@b,\n\tc@d,\n e@f" "a@b" "c@d" "e@f")
                  ("=?utf-8?Q?J=C3=B6rg?= <a@b>" "a@b")
                  ("Jörg <jörg@exämple.de>" "jörg@exämple.de")
                  ("a@[127.0.0.1], b@[IPv6:::1]" "a@[127.0.0.1]" "b@[IPv6:::1]")
                  ("root" "root") ("\"x \\\" y\" <a@b>" "a@b")
                  ("J. Doe <a@b>" "a@b")))
    (should (equal (smtps-send-addresses (car case) "To") (cdr case)))))

(ert-deftest smtps-send-test-no-addresses ()
  (dolist (text '("a b@c" "a@b c@d" "<a@b" "a@b>" "<a@b> <c@d>" "<a@b> c"
                  "a@b@c" "a@" "@b" "<>" "\"a@b" "(a@b" "a@[b" "<<a@b>>"
                  "=?utf-8?Q?J=C3=B6rg?=@x.de" "a@b..c" "<@x:a@b>" "a\x3fff80@b" "a\u200b@b"
                  "\"a\u00ad\"@b" "a@b\ud800"))
    (should-error (smtps-send-addresses text "To") :type 'smtps-send-error))
  (should-error (smtps-send-addresses (concat (make-string 250 ?a) "@b.de") "To")
                :type 'smtps-send-error))

(ert-deftest smtps-send-test-many-addresses ()
  "A thousand recipients take no time to speak of."
  (let* ((text (mapconcat (lambda (i) (format "Name %d <user%d@x.example>" i i))
                          (number-sequence 1 1000) ",\n "))
         (seconds (car (benchmark-run 1 (smtps-send-addresses text "To")))))
    (should (eql (length (smtps-send-addresses text "To")) 1000))
    (should (< seconds 1)))
  (let ((addresses (mapcar (lambda (i) (format "user%d@x.example" i))
                           (number-sequence 1 2000))))
    (should (< (car (benchmark-run 1 (smtps-send--distinct addresses))) 1))))

(ert-deftest smtps-send-test-distinct ()
  (should (equal (smtps-send--distinct
                  '("a@B.example" "A@b.example" "a@b.EXAMPLE" "root" "root"))
                 '("a@B.example" "A@b.example" "root"))))

;;; After the rename

(ert-deftest smtps-send-test-nothing-signals-once-it-is-kept ()
  "Whatever goes wrong after the rename: the send function returns."
  (dolist (step '(smtps-credentials-fetch smtps-send--wake
                  smtps-afterwork-take-over smtps-send--say-when-done
                  call-process smtps-helper-call))
    (dolist (problem '((error "Oh no") (quit) (file-missing "x" "y")))
      (smtps-send-test-with 'nothing
        (let ((noninteractive nil))
          (smtps-send-test-compose "to@y.example")
          (cl-letf (((symbol-function step)
                     (lambda (&rest _) (signal (car problem) (cdr problem)))))
            (should (message-send)))
          (should (memq 'mail message-sent-message-via))
          (smtps-send-test-entry 'queue)
          (unless (eq step 'call-process)
            (should (cl-some (lambda (sentence)
                               (string-match-p "safe in the outbox" sentence))
                             smtps-send-test-told))))))))

(ert-deftest smtps-send-test-a-step-that-fails-before ()
  "Whatever fails before the rename: the mail is in its buffer, unsent."
  (dolist (step '(write-region rename-file make-empty-file
                  make-directory smtps-wire-print smtps-account-for))
    (smtps-send-test-with 'nothing
      (smtps-outbox-ready)
      (smtps-send-test-compose "to@y.example")
      (cl-letf (((symbol-function step)
                 (lambda (&rest _) (signal 'file-error '("x" "Disk full")))))
        (should-error (message-send)))
      (should-not message-sent-message-via)
      (should (buffer-modified-p))
      (should-not (smtps-outbox-entries))
      ;; And once it works, it goes, once.
      (let ((noninteractive nil))
        (should (message-send)))
      (smtps-send-test-entry 'queue))))

(ert-deftest smtps-send-test-quit-keys-while-it-is-kept ()
  "A quit typed after the rename is dropped: message.el must get its return."
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil)
          (real (symbol-function 'smtps-outbox--sync)))
      (smtps-send-test-compose "to@y.example")
      (cl-letf (((symbol-function 'smtps-outbox--sync)
                 (lambda (&rest directories)
                   (apply real directories)
                   (setq quit-flag t))))
        (should (message-send)))
      (should-not quit-flag)
      (smtps-send-test-entry 'queue))))

(ert-deftest smtps-send-test-second-send-asks ()
  "When message.el was interrupted after the rename, it would send again."
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil)
          (asked nil))
      (smtps-send-test-compose "to@y.example")
      (message-send)
      ;; As if it had not got so far.
      (setq message-sent-message-via nil)
      (set-buffer-modified-p t)
      (cl-letf (((symbol-function 'yes-or-no-p)
                 (lambda (question) (push question asked) nil)))
        (should (string-match-p
                 "in the outbox already"
                 (cadr (should-error (message-send) :type 'user-error)))))
      (should (eql (length asked) 1))
      (smtps-send-test-entry 'queue)
      (cl-letf (((symbol-function 'yes-or-no-p) (lambda (_) t)))
        (message-send))
      (should (eql (length (smtps-outbox-entries)) 2)))))

(ert-deftest smtps-send-test-indirect-buffer ()
  "What is sent from an indirect buffer is noted there."
  (smtps-send-test-with 'nothing
    (save-window-excursion
      (let ((noninteractive nil))
        (smtps-send-test-compose "to@y.example")
        (let* ((base (current-buffer))
               (indirect (clone-indirect-buffer "*another view*" nil)))
          (unwind-protect
              (progn
                (switch-to-buffer base)
                (set-window-buffer nil indirect)
                (set-buffer indirect)
                (message-send)
                (should (buffer-local-value 'smtps-send--entry indirect))
                (should-not (buffer-local-value 'smtps-send--entry base)))
            (kill-buffer indirect)))))))

(ert-deftest smtps-send-test-second-send-in-batch ()
  "In batch nobody can be asked: it is not sent once more."
  (smtps-send-test-with 'sent
    (smtps-send-test-compose "to@y.example")
    (message-send)
    (setq message-sent-message-via nil)
    (should-error (message-send) :type 'user-error)
    (smtps-send-test-entry 'sent)))

(ert-deftest smtps-send-test-thrown-out-of-a-question ()
  "The helper is told, too, when a password's question is left by `top-level'."
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil)
          (woken nil))
      (smtps-send-test-compose "to@y.example")
      (catch 'away
        (cl-letf (((symbol-function 'smtps-credentials-fetch)
                   (lambda (&rest _) (throw 'away nil)))
                  ((symbol-function 'smtps-send--wake)
                   (lambda (&rest _) (setq woken t))))
          (message-send)))
      (should woken)
      (smtps-send-test-entry 'queue))))

(ert-deftest smtps-send-test-message-asks-only-once ()
  "Where message.el has asked already, that is enough."
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil))
      (smtps-send-test-compose "to@y.example")
      (message-send)
      (cl-letf (((symbol-function 'y-or-n-p) (lambda (_) t))
                ((symbol-function 'yes-or-no-p)
                 (lambda (_) (ert-fail "asked twice"))))
        (message-send))
      (should (eql (length (smtps-outbox-entries)) 2)))))

(ert-deftest smtps-send-test-mail-mode-second-send ()
  (smtps-send-test-with 'sent
    (smtps-send-test-compose-old "to@y.example")
    (mail-send)
    (set-buffer-modified-p t)
    (should-error (mail-send) :type 'user-error)
    (smtps-send-test-entry 'sent)))

(ert-deftest smtps-send-test-told-after-done ()
  "What is told last is where the mail is, not message.el's \"done\"."
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil))
      (smtps-send-test-compose "to@y.example")
      (let ((message-send-actions-before message-send-actions))
        (message-send)
        (should (equal (cl-remove-if-not
                        (lambda (told) (string-prefix-p "Queued" told))
                        smtps-send-test-told)
                       '("Queued for relay.poste.it")))
        (should (equal message-send-actions message-send-actions-before))))))

;;; Passwords

(ert-deftest smtps-send-test-password-after-the-mail-is-safe ()
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil)
          (seen nil))
      (smtps-send-test-compose "to@y.example")
      (cl-letf (((symbol-function 'smtps-credentials-fetch)
                 (lambda (account &rest _)
                   (push (list (plist-get account :host)
                               (plist-get account :user)
                               (plist-get (smtps-send-test-entry) :state)
                               smtps-send-test-calls inhibit-quit)
                         seen))))
        (message-send))
      (should (equal seen '(("relay.poste.it" "u" queue nil nil)))))))

(ert-deftest smtps-send-test-who-logs-in-is-frozen ()
  "The author, where the account has no user; the envelope's sender may be another."
  (smtps-send-test-with 'nothing
    (dolist (case '(("u" . nil) (nil . "me@poste.it")))
      (let ((noninteractive nil)
            (smtps-accounts `(("poste" :host "relay.poste.it" :user ,(car case))))
            (mail-specify-envelope-from t)
            (mail-envelope-from "bounces@poste.it"))
        (smtps-send-test-compose "to@y.example")
        (message-send)
        (let ((entry (car (smtps-outbox-entries))))
          (should (equal (plist-get entry :from) "bounces@poste.it"))
          (should (equal (plist-get (plist-get entry :account) :author) (cdr case)))
          (delete-directory (smtps-outbox--directory "queue" (plist-get entry :id)) t))))))

(ert-deftest smtps-send-test-answer ()
  "Mail that waits for a password goes when `smtps-answer' gets it."
  (smtps-send-test-with 'later
    (let ((noninteractive nil)
          (asked nil))
      (cl-letf (((symbol-function 'smtps-credentials-fetch)
                 (lambda (account &rest keys)
                   (push (list (plist-get account :user)
                               (plist-get keys :ask))
                         asked)
                   t)))
        (smtps-send-test-compose "to@y.example")
        (message-send)
        ;; In files that ask nothing it is looked for first.
        (smtps-send-test-until
         (cl-some (lambda (sentence)
                    (string-match-p "M-x smtps-answer" sentence))
                  smtps-send-test-told))
        (should (eq (smtps-outbox-wait 5) nil))
        (setq asked nil smtps-send-test-fate 'sent)
        (smtps-answer)
        (should (equal asked '(("u" t))))
        (smtps-send-test-entry 'sent)
        (smtps-answer)
        (should (equal (car smtps-send-test-told)
                       "No mail waits for an answer"))))))

(ert-deftest smtps-send-test-refused-login-forgets ()
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil)
          (forgotten nil))
      (smtps-send-test-compose "to@y.example")
      (message-send)
      (cl-letf (((symbol-function 'smtps-credentials-forget)
                 (lambda (account) (push (plist-get account :user) forgotten))))
        (smtps-send--event
         `(:id ,(plist-get (smtps-send-test-entry) :id) :state queue
               :verdict login :waits secret :host "relay.poste.it" :port 465
               :text "535 No."))
        ;; Said once more, it is another refusal, of another password.
        (smtps-send--event
         `(:id ,(plist-get (smtps-send-test-entry) :id) :state queue
               :verdict login :waits secret :host "relay.poste.it" :port 465
               :text "535 No."))
        ;; A certificate is no reason to.
        (smtps-send--event
         `(:id ,(plist-get (smtps-send-test-entry) :id) :state queue
               :verdict login :waits trust :host "relay.poste.it" :port 465
               :text "It is not trusted." :key ,smtps-send-test-key)))
      (should (equal forgotten '("u" "u"))))))

;;; Telling

(ert-deftest smtps-send-test-a-key-ends-the-reading ()
  "However many wait, a key is heard at once; all are sent, read or not."
  (smtps-send-test-with 'nothing
    (dotimes (_ 2)
      (smtps-send-test-compose "to@y.example")
      (let ((smtpmail-queue-mail t)) (message-send)))
    (dolist (id (smtps-outbox--names "held"))
      (smtps-outbox-move id 'held 'queue))
    (setq smtps-send-test-calls nil)
    (let ((find (symbol-function 'smtps-outbox-find))
          (found nil))
      (cl-letf (((symbol-function 'smtps-outbox-find)
                 (lambda (id)
                   (when found (throw throw-on-input t))
                   (push id found)
                   (funcall find id))))
        (smtps-send-queued))
      (should (equal (mapcar #'car smtps-send--again) found))
      (should (equal (mapcar #'car smtps-send-test-calls) '(outbox-drain))))))

(ert-deftest smtps-send-test-told-once ()
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil)
          (event '(:id "x" :state sent :verdict accepted
                       :text "Accepted for 1 recipient by h as Q1.")))
      (smtps-send--event '(:id "x" :state active :text "Sending to h..."))
      (smtps-send--event event)
      (smtps-send--event event)
      (should (equal smtps-send-test-told
                     '("Accepted for 1 recipient by h as Q1."))))))

(ert-deftest smtps-send-test-told-of-what-failed ()
  "Whoever is told that a mail failed is told what to do, and is shown no file."
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil) id)
      (smtps-send-test-compose "to@y.example")
      (message-send)
      (setq id (plist-get (smtps-send-test-entry) :id))
      (pcase-dolist (`(,verdict ,told)
                     '((refused "No.  M-x smtps-outbox: e edits it, r sends it again.")
                       (uncertain "No.  M-x smtps-outbox: m if you find that it \
arrived, r sends it again.")))
        (should (equal (smtps-send--sentence
                        `(:id ,id :state failed :verdict ,verdict
                              :text ,(format "No. The mail is kept as %s in the \
outbox under failed." id)))
                       told))))))

(ert-deftest smtps-send-test-waits-still ()
  "That a mail waits for a password is told once, though others are sent."
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil)
          (waits '(:id "x" :state queue :verdict later :waits secret
                       :host "h" :port 465 :text "It waits.")))
      (smtps-send--event `(:id "x" :state queue :verdict login :waits secret
                               :host "h" :port 465 :text "535 No."))
      (should (length= smtps-send-test-told 1))
      (smtps-send--event waits)
      (should (length= smtps-send-test-told 1))
      (smtps-send--event `(:id "x" :state queue :verdict login :waits secret
                               :host "h" :port 465 :text "535 Never."))
      (should (length= smtps-send-test-told 2)))))

(ert-deftest smtps-send-test-told-of-what-is-stuck ()
  "What became of a mail is told though it could not be moved."
  (should-not (smtps-send--sentence '(:id "x" :state active :text "Sending")))
  (should (equal (smtps-send--sentence '(:id "x" :state active
                                             :verdict accepted :text "It is."))
                 "It is.")))

(ert-deftest smtps-send-test-told-of-which-mail ()
  (dolist (case '(("Grüße an Ω" "“Grüße an Ω”: It is accepted.") 
                  ("" "Mail to to@y.example: It is accepted.")))
    (smtps-send-test-with 'sent
      (let ((noninteractive nil))
        (smtps-send-test-compose "to@y.example")
        (message-goto-subject)
        (delete-region (line-beginning-position) (line-end-position))
        (insert "Subject: " (car case))
        (cl-letf (((symbol-function 'y-or-n-p) #'always))
          (message-send))
        (should (member (cadr case) smtps-send-test-told)))))
  (should (equal (smtps-send--short " a\u202eb\n\tc\ed ") "a\ufffdb c\ufffdd"))
  (should (equal (smtps-send--short "=?utf-8?Q?G=C3=BC=1B?=") "Gü\ufffd"))
  (should (= (length (smtps-send--short (make-string 1000 ?x))) 50))
  (should-not (smtps-send--short " \n "))
  (should-not (smtps-send--label "no-such"))
  (should-not (smtps-send--label nil)))

(ert-deftest smtps-send-test-server-text-is-harmless ()
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil))
      (smtps-send--event '(:id "x" :state sent :text "a\e[31m\nb\u202e"))
      (should-not (string-match-p "[\e\n\u202e]" (car smtps-send-test-told)))
      (dotimes (i 300)
        (smtps-send--event `(:id ,(number-to-string i) :state sent
                                 :text ,(format "%d" i))))
      (should (<= (length smtps-send--told) (1+ smtps-send--told-limit))))))

(ert-deftest smtps-send-test-no-helper ()
  "Without a helper the mail is kept, and it's said what to do."
  (dolist (fate '(missing dead))
    (smtps-send-test-with fate
      (let ((noninteractive nil))
        (smtps-send-test-compose "to@y.example")
        (should (message-send))
        (smtps-send-test-entry 'queue)
        (should (cl-some (lambda (sentence)
                           (string-match-p "safe in the outbox.+\\(python3\\|died\\)"
                                           sentence))
                         smtps-send-test-told))
        (should-not (smtps-outbox-wait 5))
        (setq smtps-send-test-fate 'sent)
        (smtps-send-queued)
        (smtps-send-test-entry 'sent)))))

(ert-deftest smtps-send-test-death ()
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil))
      (smtps-send--death "The helper died.")
      (should-not smtps-send-test-told)
      (smtps-send-test-compose "to@y.example")
      (message-send)
      (smtps-send--death "The helper died.")
      (should (string-match-p "died.+1 to be sent" (car smtps-send-test-told))))))

;;; Waiting

(ert-deftest smtps-send-test-wait ()
  (smtps-send-test-with 'sent
    (should (smtps-outbox-wait))
    (smtps-send-test-compose "to@y.example")
    (message-send)
    (should (smtps-outbox-wait))))

(ert-deftest smtps-send-test-wait-for-what-is-not-due ()
  (smtps-send-test-with 'deferred
    (let ((noninteractive nil))
      (smtps-send-test-compose "to@y.example")
      (message-send)
      (should-not (smtps-outbox-wait)))))

(ert-deftest smtps-send-test-wait-with-a-limit ()
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil))
      (smtps-send-test-compose "to@y.example")
      (message-send)
      (should-not (smtps-outbox-wait 0.2)))))

(ert-deftest smtps-send-test-batch-signals ()
  "In batch, what was not accepted is an error, and is not sent later."
  (dolist (case '((failed failed "It is refused") (deferred held "It is deferred")
                  (later held "It is later\\..+no entry “machine relay.poste.it login u port 465 or smtps") (missing held "no python3")
                  (dead held "helper died")))
    (smtps-send-test-with (car case)
      (smtps-send-test-compose "to@y.example")
      (let ((sentence (cadr (should-error (message-send) :type 'user-error))))
        (should (string-match-p (nth 2 case) sentence))
        (should (string-match-p "is kept in .+/outbox/" sentence)))
      (smtps-send-test-entry (nth 1 case)))))

;;; The real helper, and a server

(defmacro smtps-send-test-really (&rest body)
  "Evaluate BODY with the helper and a sandbox, whose REPORT is bound there.
The account is the sandbox's, and its password is in an authinfo file."
  (declare (indent 0) (debug t))
  `(smtps-send-test-with 'nothing
     (let* ((report (smtps-sandbox-start))
            (file (expand-file-name "authinfo" smtps-send-test-home))
            (auth-sources (list file))
            (user-mail-address "from-address@poste.it")
            (smtps-accounts
             `(("sandbox" :host ,(plist-get report :host)
                :port ,(plist-get report :port)
                :user ,(plist-get report :user)
                :ca-file ,(plist-get report :ca-file)))))
       (write-region (format "machine localhost login %s password \"%s\"\n"
                             (plist-get report :user)
                             (plist-get report :password))
                     nil file nil 'silent)
       (unwind-protect
           (cl-letf (((symbol-function 'smtps-helper-call)
                      smtps-send-test-helper-call)
                     ((symbol-function 'smtps-helper-live-p)
                      smtps-send-test-helper-live-p))
             ,@body)
         (smtps-send-test-end-helper)
         (let ((sandbox smtps--sandbox))
           (smtps-sandbox-stop)
           (smtps-send-test-until (not (process-live-p sandbox))))))))

(defconst smtps-send-test-helper-call (symbol-function 'smtps-helper-call)
  "The real function, which the tests above replace.")

(defconst smtps-send-test-helper-live-p (symbol-function 'smtps-helper-live-p)
  "The real function, which the tests above replace.")

(defmacro smtps-send-test-until (condition)
  "Wait, at most 20 seconds, until CONDITION is non-nil; return its value."
  `(let ((deadline (time-add nil 20)) value)
     (while (not (or (setq value ,condition) (time-less-p deadline nil)))
       (accept-process-output nil 0.05))
     (should value)
     value))

(defun smtps-send-test-end-helper ()
  "Stop the helper and wait until it is gone."
  (let ((process (cl-find "smtps-helper" (process-list) :test #'string-prefix-p
                          :key #'process-name)))
    (smtps-helper-stop)
    (when process
      (smtps-send-test-until (not (process-live-p process))))))

(defun smtps-send-test-arrived (report)
  "Return the mails, each its octets, in the Maildir of REPORT."
  (mapcar (lambda (file)
            (with-temp-buffer
              (set-buffer-multibyte nil)
              (insert-file-contents-literally file)
              (buffer-string)))
          (directory-files-recursively (plist-get report :maildir) "")))

(ert-deftest smtps-send-test-real-accepted ()
  (smtps-send-test-really
    (smtps-send-test-compose "to-address@other-host.it"
                             '((Bcc . "hidden@z.example"))
                             ".\nText, Grüße.\n.dot\n")
    (should (message-send))
    (let ((entry (smtps-send-test-entry 'sent))
          (mail (car (smtps-send-test-arrived report))))
      (should (eq (plist-get (plist-get entry :outcome) :verdict) 'accepted))
      (should (string-match-p
               "2 recipients"
               (plist-get (plist-get entry :outcome) :text)))
      (should (string-match-p "^Subject: Interactive attempt\r?$" mail))
      ;; The sandbox itself says who it was delivered to.
      (should-not (string-match-p "hidden\\|bcc" (string-replace
                                                  "Delivered-To: hidden" ""
                                                  mail)))
      (should (smtps-outbox-wait 5)))))

(ert-deftest smtps-send-test-real-helper-of-another-version ()
  "It is told to be so, and the mail is sent once the right one runs."
  (smtps-send-test-really
    (let ((noninteractive nil)
          (python (smtps-helper--python)))
      (pcase-dolist (`(,way ,sentence)
                     '(("old" "is of version 0\\.0\\.1, older than this package")
                       ("serve" "it does not know .outbox-drain.+smtps-helper-stop")))
        (let ((smtps-helper-command
               (list python
                     (expand-file-name "smtps-rpc-peer.py"
                                       (file-name-directory
                                        (locate-library "smtps-real")))
                     way)))
          (smtps-send-test-compose "to-address@other-host.it")
          (should (message-send))
          (smtps-send-test-until
           (cl-find-if (lambda (told)
                         (string-match-p
                          (concat "The mail is safe in the outbox.+" sentence
                                  ".+\\.  When that is mended, M-x smtps-send-queued sends it")
                          told))
                       smtps-send-test-told))
          (smtps-send-test-end-helper)))
      (should (= 2 (length (smtps-outbox-entries '(queue)))))
      (smtps-send-queued)
      (should (smtps-outbox-wait 20))
      (should (= 2 (length (smtps-send-test-arrived report)))))))

(ert-deftest smtps-send-test-real-without-waiting ()
  "Emacs does not wait: the outcome is told when it comes."
  (smtps-send-test-really
    (let ((noninteractive nil))
      (smtps-send-test-compose "to-address@other-host.it")
      (should (message-send))
      (smtps-send-test-entry 'queue)
      (should-not (smtps-send-test-arrived report))
      (should (equal (car smtps-send-test-told) "Queued for localhost"))
      (should (smtps-outbox-wait 20))
      (smtps-send-test-until
       (cl-find-if (lambda (sentence)
                     (string-match-p "localhost accepted .+ 1 recipient"
                                     sentence))
                   smtps-send-test-told))
      (should (eql (length (smtps-send-test-arrived report)) 1)))))

(defmacro smtps-send-test-with-server (&rest body)
  "Evaluate BODY with the helper and a server that accepts and never speaks.
The server is the variable `server', and the account's."
  (declare (indent 0) (debug t))
  `(smtps-send-test-with 'nothing
     (let* ((noninteractive nil)
            (server (make-network-process
                     :name "server" :server t :host "127.0.0.1" :service t
                     :family 'ipv4 :noquery t :coding 'binary
                     :log (lambda (server client _message)
                            (process-put server 'client client))))
            (smtps-accounts
             `(("none" :host "127.0.0.1" :tls none
                :port ,(process-contact server :service)))))
       (unwind-protect
           (cl-letf (((symbol-function 'smtps-helper-call)
                      smtps-send-test-helper-call)
                     ((symbol-function 'smtps-helper-live-p)
                      smtps-send-test-helper-live-p))
             ,@body)
         (smtps-send-test-end-helper)
         (when (process-get server 'client)
           (delete-process (process-get server 'client)))
         (delete-process server)))))

(ert-deftest smtps-send-test-real-nobody-listens ()
  (smtps-send-test-with-server
    (delete-process server)
    (smtps-send-test-compose "to@y.example")
    (should (message-send))
    (smtps-send-test-until
     (cl-find-if (lambda (sentence)
                   (string-match-p
                    "\\`“Interactive attempt”: 127\\.0\\.0\\.1 can't be reached.+kept"
                    sentence))
                 smtps-send-test-told))
    (smtps-send-test-entry 'queue)))

(ert-deftest smtps-send-test-real-server-never-speaks ()
  "Emacs goes on, and the mail is there, whatever becomes of it."
  (smtps-send-test-with-server
    (smtps-send-test-compose "to@y.example")
    (should (message-send))
    (smtps-send-test-until (process-get server 'client))
    (let ((ticks 0) (longest 0) (last (float-time)) timer)
      (setq timer (run-at-time
                   0 0.01 (lambda ()
                            (let ((now (float-time)))
                              (setq longest (max longest (- now last))
                                    last now
                                    ticks (1+ ticks))))))
      (smtps-send-test-until (> ticks 50))
      (cancel-timer timer)
      ;; Nothing of ours waits for a server; the machine may be shared.
      (should (< longest 0.5)))
    (smtps-send-test-entry 'active)))

(ert-deftest smtps-send-test-real-helper-hangs ()
  (let ((smtps-helper-alive-seconds 1))
    (smtps-send-test-with-server
      (smtps-send-test-compose "to@y.example")
      (message-send)
      (smtps-send-test-until (process-get server 'client))
      (smtps-send-test-until (not smtps-helper--asked))
      (let ((process (smtps-rpc-peer-process smtps-helper--peer)))
        (signal-process process 'SIGSTOP)
        (unwind-protect
            (progn
              (smtps-send-test-compose "again@y.example")
              (should (message-send))
              (smtps-send-test-until
               (cl-find-if (lambda (sentence)
                             (string-match-p "hangs.+1 to be sent, 1 interrupted.+goes on"
                                             sentence))
                           smtps-send-test-told))
              (should (= (length (smtps-outbox-entries '(queue))) 1)))
          (signal-process process 'SIGCONT)
          (smtps-send-test-until (not (process-live-p process))))))))

(ert-deftest smtps-send-test-real-wrong-password ()
  (smtps-send-test-really
    (write-region (format "machine localhost login %s password wrong\n"
                          (plist-get report :user))
                  nil (car auth-sources) nil 'silent)
    (smtps-send-test-compose "to-address@other-host.it")
    (let ((sentence (cadr (should-error (message-send) :type 'user-error))))
      (should (string-match-p "refused the login.+535" sentence))
      (should (string-match-p "is kept in" sentence))
      (should-not (string-search "wrong" sentence)))
    (should-not (smtps-send-test-arrived report))
    ;; It was forgotten, so that a mended file counts at once.
    (should-not smtps-credentials--memory)))

(ert-deftest smtps-send-test-real-password-later ()
  "A password that must be asked for: the mail waits, and `smtps-answer' asks."
  (smtps-send-test-really
    (let ((noninteractive nil)
          (auth-sources nil))
      (smtps-send-test-compose "to-address@other-host.it")
      (message-send)
      (smtps-send-test-until
       (cl-find-if (lambda (sentence)
                     (string-match-p "M-x smtps-answer" sentence))
                   smtps-send-test-told))
      (should-not (smtps-outbox-wait 5))
      (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'always)
                ((symbol-function 'read-passwd)
                 (lambda (&rest _)
                   (copy-sequence (plist-get report :password)))))
        (smtps-answer))
      (should (smtps-outbox-wait 20))
      (smtps-send-test-entry 'sent))))

(ert-deftest smtps-send-test-taken-up-unread ()
  "What a timer finds in the outbox it does not read, which may take long."
  (smtps-send-test-with 'nothing
    (let ((noninteractive nil)
          (woken 0))
      (cl-letf (((symbol-function 'smtps-outbox-entries)
                 (lambda (&rest _) (error "They were read")))
                ((symbol-function 'smtps-send--wake)
                 (lambda () (cl-incf woken))))
        (smtps-outbox-ready)
        (smtps-send-queued t)
        (should (eql woken 0))
        (smtps-send-test-compose "to@y.example")
        (should (message-send))
        (should (eql woken 1))
        (smtps-send-queued t)
        (should (eql woken 2))))))

(ert-deftest smtps-send-test-real-killed-helper ()
  "A helper that is killed loses nothing; the mail goes with the next one, once."
  (smtps-send-test-really
    (let ((noninteractive nil))
      (smtps-send-test-compose "to-address@other-host.it")
      (message-send)
      (signal-process (cl-find "smtps-helper" (process-list)
                               :test #'string-prefix-p :key #'process-name)
                      'SIGKILL)
      (smtps-send-test-until (not (smtps-helper-live-p)))
      (should (eql (length (smtps-outbox-entries '(queue active))) 1))
      (smtps-send-queued)
      (smtps-send-test-until (smtps-outbox-entries '(sent)))
      (should (eql (length (smtps-send-test-arrived report)) 1)))))

(ert-deftest smtps-send-test-real-password-is-nowhere ()
  "A password with all that can go wrong works, and stays in its file only."
  (smtps-send-test-really
    (let ((secret "pässwörd \"quoted\" 100%")
          (coding-system-for-write 'utf-8-unix))
      (write-region (format "machine localhost login accented@poste.it \
password '%s'\n" secret)
                    nil (car auth-sources) nil 'silent)
      (setf (plist-get (cdar smtps-accounts) :user) "accented@poste.it")
      (smtps-send-test-compose "to-address@other-host.it")
      (should (message-send))
      (dolist (text (list secret "pässwörd" "p\\u00e4ssw"
                          (base64-encode-string
                           (encode-coding-string secret 'utf-8) t)
                          (base64-encode-string
                           (encode-coding-string
                            (concat "\0accented@poste.it\0" secret) 'utf-8)
                           t)))
        (dolist (buffer (buffer-list))
          (unless (equal (buffer-name buffer) "*Messages*")
            (with-current-buffer buffer
              (save-restriction
                (widen)
                (should-not (string-search text (buffer-string)))))))
        (dolist (file (directory-files-recursively smtps-outbox-directory ""))
          (with-temp-buffer
            (insert-file-contents file)
            (should-not (string-search text (buffer-string)))))))))

(provide 'smtps-send-test)
;;; smtps-send-test.el ends here
