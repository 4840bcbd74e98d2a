;;; smtps-outbox-edit-test.el --- Mail that comes back to be edited  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-outbox-ui)
(require 'smtps-route)
(require 'smtps-undo)
(require 'smtps-untold)

(defvar mm-decrypt-option)
(defvar mml-secure-openpgp-sign-with-sender)
(defvar smtpmail-queue-mail)

(defmacro smtps-outbox-edit-test-with (&rest body)
  "Evaluate BODY with a home and an account, where no helper can start."
  (declare (indent 0) (debug t))
  `(let* ((smtps-real-home (file-name-as-directory (make-temp-file "smtps-home" t)))
          (process-environment
           (append (list (concat "HOME=" (directory-file-name smtps-real-home))
                         (concat "GNUPGHOME=" smtps-real-home "gnupg"))
                   process-environment))
          (default-directory smtps-real-home)
          (smtps-outbox-directory (expand-file-name "outbox" smtps-real-home))
          (auth-sources nil)
          (smtps-accounts '(("own" :host "own.example" :tls implicit)))
          (smtps-helper-command '("/nonexistent"))
          (smtps-send-tell-function
           (lambda (sentence) (push sentence smtps-real-told)))
          (smtps-real-told nil)
          (smtps-real-answers nil)
          (smtps-real-questions nil)
          (noninteractive nil)
          (user-full-name "Me")
          (user-mail-address "f@x.example")
          (message-send-mail-function #'smtps-send-it)
          (message-auto-save-directory nil)
          (message-confirm-send nil)
          (message-signature nil)
          (before (buffer-list)))
     (save-window-excursion
       (unwind-protect
           (cl-letf (((symbol-function 'smtps-credentials--can-ask-p) #'always)
                     ((symbol-function 'y-or-n-p) #'smtps-outbox-edit-test-answer)
                     ((symbol-function 'yes-or-no-p) #'smtps-outbox-edit-test-answer)
                     ((symbol-function 'read-string)
                      (lambda (prompt initial)
                        (funcall (smtps-outbox-edit-test-answer prompt) initial)))
                     ((symbol-function 'read-multiple-choice)
                      (lambda (prompt &rest _)
                        (list (smtps-outbox-edit-test-answer prompt)))))
             (smtps-outbox-ready)
             ,@body)
         (let ((kill-buffer-query-functions nil))
           (dolist (buffer (buffer-list))
             (when (and (buffer-live-p buffer) (not (memq buffer before)))
               (with-current-buffer buffer
                 (set-buffer-modified-p nil))
               (kill-buffer buffer))))
         (ignore-errors (call-process "gpgconf" nil nil nil "--kill" "all"))
         (delete-directory smtps-real-home t)))))

(defun smtps-outbox-edit-test-answer (prompt)
  "Return the next of `smtps-real-answers', to PROMPT."
  (push prompt smtps-real-questions)
  (unless smtps-real-answers
    (ert-fail (list "Asked" prompt)))
  (pop smtps-real-answers))

(defun smtps-outbox-edit-test-put (text &rest envelope)
  "Put TEXT, octets, into held/ or ENVELOPE's `:state'; return the id.
ENVELOPE overrides that of a mail to a@x.example."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert (encode-coding-string text 'utf-8-unix))
    (smtps-outbox-put
     (append envelope
             (list :account (smtps-account "own") :from "f@x.example"
                   :recipients '("a@x.example") :message-id "<1@x.example>"))
     (plist-get envelope :afterwork)
     (or (plist-get envelope :state) 'held))))

(defun smtps-outbox-edit-test-got (id &rest recipients)
  "Have the RECIPIENTS, numbers, of the mail ID have got it, which is held."
  (let ((coding-system-for-write 'utf-8-unix))
    (write-region
     (concat
      "(attempt :number 1 :time 1700000000)\n"
      (mapconcat (lambda (index)
                   (format "(result :attempt 1 :recipient %d :verdict accepted)\n"
                           index))
                 recipients "")
      "(outcome :attempt 1 :verdict deferred :text \"Later.\" :next nil)\n")
     nil (smtps-outbox--directory "held" id "journal.sexp") nil 'silent)))

(defun smtps-outbox-edit-test-edit (id)
  "Edit the mail ID by the key of the outbox; leave its buffer current."
  (smtps-outbox)
  (goto-char (point-min))
  (while (not (equal (car (tabulated-list-get-id)) id))
    (forward-line 1))
  (smtps-outbox-edit)
  (set-buffer (window-buffer)))

(defun smtps-outbox-edit-test-sent ()
  "Return the one mail in the outbox, with its `:text', octets."
  (let ((entry (car (smtps-outbox-entries))))
    (should (equal (length (smtps-outbox-entries)) 1))
    (append entry
            (list :text (with-temp-buffer
                          (set-buffer-multibyte nil)
                          (insert-file-contents-literally
                           (concat (plist-get entry :directory) "/message.eml"))
                          (buffer-string))))))

(defconst smtps-outbox-edit-test-head
  "From: f@x.example\nTo: a@x.example\nSubject: Was sent\nMessage-ID: <1@x.example>\n"
  "The header of mails that are edited.")

(defconst smtps-outbox-edit-test-outline "
import email, email.header, sys
for part in email.message_from_binary_file(sys.stdin.buffer).walk():
    kind, text = part.get_content_type(), b''
    if not part.is_multipart():
        text = part.get_payload(decode=True)
        if kind.startswith('text/'):
            text = text.decode(part.get_content_charset('ascii')).rstrip('\\n')
    if kind == 'multipart/mixed' and len(part.get_payload()) == 1:
        continue
    print(kind, [part.get_param(name) for name in ('format', 'delsp', 'method', 'name')],
          part.get_content_disposition() == 'attachment',
          email.header.make_header(email.header.decode_header(part.get_filename(''))),
          part['Content-ID'], text)
    if kind == 'message/rfc822':
        print(part.get_payload()[0].as_bytes())
"
  "A program that prints what the mail on its standard input is to a reader.")

(defun smtps-outbox-edit-test-outline (text)
  "Return what the mail TEXT, octets, is to a reader, by another library."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert text)
    (let ((coding-system-for-read 'utf-8)
          (coding-system-for-write 'no-conversion)
          (process-environment (cons "PYTHONIOENCODING=utf-8" process-environment)))
      (should (eql 0 (call-process-region
                      (point-min) (point-max) "python3" t t nil
                      "-I" "-c" smtps-outbox-edit-test-outline))))
    (buffer-string)))

(ert-deftest smtps-outbox-edit-test-parts ()
  "What is edited, and not changed, is the same mail to its readers."
  (pcase-dolist
      (`(,name . ,body)
       `((latin-1 "Content-Type: text/plain; charset=iso-8859-1\n"
                  "Content-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe\n")
         (no-mime "\nJust text: ü\n")
         (tag "Content-Type: text/plain\n\nA <#part type=text/html> in text\n\n-- \nsig\n")
         (flowed "Content-Type: text/plain; format=flowed; delsp=yes; charset=utf-8\n"
                 "Content-Transfer-Encoding: 8bit\n\nA long \nlinë.\n")
         (unknown-charset "Content-Type: text/plain; charset=ascii; x=\"y z\"\n\ntext\n")
         (inline-pgp "Content-Type: text/plain\n\n-----BEGIN PGP MESSAGE-----\n\n"
                     "hQIMA3==\n-----END PGP MESSAGE-----\n")
         (calendar "Content-Type: multipart/alternative; boundary=b\n\n--b\n"
                   "Content-Type: text/plain\n\nyes\n--b\n"
                   "Content-Type: text/calendar; method=REPLY; charset=utf-8\n\n"
                   "BEGIN:VCALENDAR\nEND:VCALENDAR\n--b--\n")
         (image "Content-Type: multipart/related; type=\"text/html\"; boundary=b\n\n--b\n"
                "Content-Type: text/html; charset=utf-8\n"
                "Content-Transfer-Encoding: 8bit\n\n<img src=\"cid:i@x\">ü\n--b\n"
                "Content-Type: image/png\nContent-ID: <i@x>\n"
                "Content-Disposition: inline; filename=\"i.png\"\n"
                "Content-Transfer-Encoding: base64\n\niVBORw0KGgoAAAANAP8=\n--b--\n")
         (name "Content-Type: multipart/mixed; boundary=b\n\n--b\n"
               "Content-Type: text/plain\n\nsee\n--b\n"
               "Content-Type: application/octet-stream; name=\"x.pdf\"\n"
               "Content-Disposition: attachment; filename*=utf-8''%C3%A4%20b.pdf\n"
               "Content-Transfer-Encoding: base64\n\nAAEC/w==\n--b\n"
               "Content-Type: text/x-c\nContent-Disposition: attachment; filename=\"a b.c\""
               "\n\nint x;\n--b\nContent-Type: text/plain; charset=iso-8859-1\n"
               "Content-Disposition: attachment; filename=l.txt\n"
               "Content-Transfer-Encoding: 8bit\n\ntext\n--b--\n")
         (two-texts "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\n"
                    "two\n--b--\n")
         (forwarded "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nfwd\n--b\n"
                    "Content-Type: message/rfc822\nContent-Disposition: inline\n\n"
                    "From: x@x.example\nSubject: =?iso-8859-1?q?f=FC?=\n"
                    "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=c;\n"
                    "\tprotocol=\"application/pgp-signature\"; micalg=pgp-sha1\n\n"
                    "--c\nContent-Type: text/plain\n\nsigned <#part> text  \n--c\n"
                    "Content-Type: application/pgp-signature\n\nabc\n--c--\n\n--b--\n")))
    (ert-info ((format "%s" name))
      (smtps-outbox-edit-test-with
        (let* ((text (concat smtps-outbox-edit-test-head
                             "References: <o@x.example>\nIn-Reply-To: <o@x.example>\n"
                             "X-Priority: 1\n"
                             (if (eq name 'no-mime) "" "MIME-Version: 1.0\n")
                             (apply #'concat body)))
               (before (encode-coding-string text 'utf-8-unix))
               (id (smtps-outbox-edit-test-put text)))
          (smtps-outbox-edit-test-edit id)
          (should-not (buffer-modified-p))
          (message-send)
          (let ((sent (smtps-outbox-edit-test-sent)))
            (dolist (field '("^X-Priority: 1$" "^References: <o@x" "^In-Reply-To: <o@x"))
              (should (string-match-p field (plist-get sent :text))))
            (should-not (equal (plist-get sent :id) id))
            (should-not (equal (plist-get sent :message-id) "<1@x.example>"))
            (unless (eq name 'no-mime)
              (should (equal (smtps-outbox-edit-test-outline before)
                             (smtps-outbox-edit-test-outline
                              (plist-get sent :text)))))))))))

(ert-deftest smtps-outbox-edit-test-not-the-same ()
  "What message.el can't make again is not edited, and stays where it was."
  (pcase-dolist
      (`(,reason . ,part)
       '(("a part of it is signed"
          "Content-Type: multipart/signed; boundary=c;"
          " protocol=\"application/pgp-signature\"\n\n--c\n\ntwo\n--c\n"
          "Content-Type: application/pgp-signature\n\nabc\n--c--\n")
         ;; Its quotation marks message.el encodes twice.
         ("it would not be the same mail"
          "Content-Type: image/png\nContent-Disposition: attachment;"
          " filename*=utf-8''%C3%A4%20%22b%22\n\nx\n")))
    (smtps-outbox-edit-test-with
      (let ((id (smtps-outbox-edit-test-put
                 (concat smtps-outbox-edit-test-head "MIME-Version: 1.0\n"
                         "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n"
                         (apply #'concat part) "--b--\n")
                 :state 'queue)))
        (should (string-match-p
                 (concat "can.t be edited: .*" reason ".+r sends it so, d deletes it")
                 (cadr (should-error (smtps-outbox-edit-test-edit id)
                                     :type 'user-error))))
        (should (equal (smtps-outbox-states-of id) '(queue)))
        (dolist (name '("*smtps edit*" " *mml*" " *mm*"))
          (should-not (get-buffer name)))))))

(defun smtps-outbox-edit-test-key ()
  "Make a key for f@x.example, who is a@x.example, too."
  (make-directory "gnupg")
  (set-file-modes "gnupg" #o700)
  (should (eql 0 (call-process "gpg" nil nil nil "--batch" "--quiet" "--passphrase" ""
                               "--quick-gen-key" "F <f@x.example>" "default" "default")))
  (should (eql 0 (call-process "gpg" nil nil nil "--batch" "--quiet" "--passphrase" ""
                               "--quick-add-uid" "f@x.example" "A <a@x.example>"))))

(defun smtps-outbox-edit-test-secure (mode &optional method)
  "Send a mail by METHOD, pgpmime, in MODE, lose its buffer, and return its id."
  (let ((mml-secure-openpgp-sign-with-sender t)
        (smtps-send-delay 600))
    (message-mail "a@x.example" "Confidential")
    (message-goto-body)
    (insert (format "<#secure method=%s mode=%s>\nSECRET täxt\n"
                    (or method "pgpmime") mode))
    (message-send)
    (set-buffer-modified-p nil)
    (kill-buffer)
    (plist-get (smtps-outbox-edit-test-sent) :id)))

(ert-deftest smtps-outbox-edit-test-signed ()
  "A signed mail comes back to be signed anew, and is."
  (smtps-outbox-edit-test-with
    (smtps-outbox-edit-test-key)
    (let ((mml-secure-openpgp-sign-with-sender t))
      (smtps-outbox-edit-test-edit (smtps-outbox-edit-test-secure "sign"))
      (should (string-match-p
               "^<#secure method=pgpmime mode=sign>\nSECRET täxt\n\\'" (buffer-string)))
      (should (smtps-real-told-p "was signed; what you send now is signed anew"))
      ;; What is typed at once is typed into the text.
      (should (looking-at-p "SECRET täxt"))
      (goto-char (point-max))
      (insert "More.\n")
      (message-send)
      (let ((text (plist-get (smtps-outbox-edit-test-sent) :text)))
        (setq default-directory smtps-real-home)
        (should (string-match "boundary=\"\\([^\"]+\\)\"" text))
        (let ((parts (split-string text (concat "\n?--" (match-string 1 text)
                                                "\\(?:--\\)?\n"))))
          (should (string-match-p "More\\." (nth 1 parts)))
          (let ((coding-system-for-write 'no-conversion))
            (write-region (string-replace "\n" "\r\n" (nth 1 parts)) nil "text" nil
                          'silent)
            (write-region (nth 2 parts) nil "signature" nil 'silent)))
        (should (eql 0 (call-process "gpg" nil nil nil "--batch" "--verify"
                                     "signature" "text")))))))

(ert-deftest smtps-outbox-edit-test-encrypted ()
  "An encrypted mail is decrypted only if its user says so, and encrypted anew."
  (smtps-outbox-edit-test-with
    (smtps-outbox-edit-test-key)
    (dolist (mode '("encrypt" "signencrypt"))
      (let* ((mml-secure-openpgp-sign-with-sender t)
             (mm-decrypt-option 'always)
             (id (smtps-outbox-edit-test-secure mode)))
        (setq smtps-real-answers '(nil))
        (should (string-match-p "it is encrypted\\."
                                (cadr (should-error (smtps-outbox-edit-test-edit id)
                                                    :type 'user-error))))
        (should (equal (smtps-outbox-states-of id) '(queue)))
        (setq smtps-real-answers '(t))
        (smtps-outbox-edit-test-edit id)
        (should (string-match-p (format "^<#secure method=pgpmime mode=%s>\nSECRET täxt\n"
                                        mode)
                                (buffer-string)))
        (message-send)
        (let ((sent (smtps-outbox-edit-test-sent)))
          (should-not (equal (plist-get sent :id) id))
          (should (string-match-p "^Content-Type: multipart/encrypted"
                                  (plist-get sent :text)))
          (should-not (string-match-p "SECRET" (plist-get sent :text)))
          (delete-directory (plist-get sent :directory) t))))
    ;; Taken back, it is stopped all the same.
    (let ((id (smtps-outbox-edit-test-secure "encrypt")))
      (setq smtps-real-answers '(nil))
      (with-temp-buffer (smtps-undo-send))
      (should (equal (smtps-outbox-states-of id) '(held)))
      (should (smtps-real-told-p "Taken back, not sent: .+\\.  This mail can.t be edited")))
    ;; Without its key, no text is lost.
    (delete-directory (expand-file-name "gnupg" smtps-real-home) t)
    (let ((id (plist-get (smtps-outbox-edit-test-sent) :id)))
      (setq smtps-real-answers '(t))
      (should (string-match-p "could not be decrypted"
                              (cadr (should-error (smtps-outbox-edit-test-edit id)
                                                  :type 'user-error))))
      (should (equal (smtps-outbox-states-of id) '(held))))))

(defun smtps-outbox-edit-test-certificate ()
  "Make a certificate of a@x.example, which is trusted."
  (let ((default-directory (expand-file-name "gnupg/" smtps-real-home)))
    (make-directory default-directory)
    (set-file-modes default-directory #o700)
    (write-region "allow-loopback-pinentry\n" nil "gpg-agent.conf" nil 'silent)
    (write-region "disable-crl-checks\n" nil "gpgsm.conf" nil 'silent)
    (with-temp-buffer
      (insert "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign, encrypt\n\
Serial: random\nName-DN: CN=A\nName-Email: a@x.example\n")
      (write-region nil nil "parameters" nil 'silent)
      (write-region "\n" nil "passphrase" nil 'silent)
      (erase-buffer)
      (should (eql 0 (call-process "gpgsm" "passphrase" '(t nil) nil "--batch"
                                   "--pinentry-mode" "loopback" "--passphrase-fd" "0"
                                   "--generate-key" "parameters")))
      (should (eql 0 (call-process-region nil nil "gpgsm" t nil nil "--batch"
                                          "--import")))
      (should (eql 0 (call-process "gpgsm" nil '(t nil) nil "--batch" "--list-keys"
                                   "--with-colons")))
      (goto-char (point-min))
      (should (re-search-forward "^fpr:+\\([0-9A-F]+\\):" nil t))
      (write-region (concat (match-string 1) " S relax\n") nil "trustlist.txt" nil
                    'silent))))

(ert-deftest smtps-outbox-edit-test-smime-encrypted ()
  "What is encrypted by S/MIME is so again."
  (smtps-outbox-edit-test-with
    (smtps-outbox-edit-test-certificate)
    (setq smtps-real-answers '(t))
    (smtps-outbox-edit-test-edit (smtps-outbox-edit-test-secure "encrypt" "smime"))
    (should (string-match-p "^<#secure method=smime mode=encrypt>\nSECRET täxt\n"
                            (buffer-string)))
    (message-send)
    (let ((text (plist-get (smtps-outbox-edit-test-sent) :text)))
      (should (string-match-p "^Content-Type: application/pkcs7-mime" text))
      (should-not (string-match-p "SECRET" text)))))

(ert-deftest smtps-outbox-edit-test-smime ()
  "What can't be decrypted, or is one with its signature, is not edited."
  (smtps-outbox-edit-test-with
    (pcase-dolist (`(,type . ,words)
                   '(("enveloped-data" . "could not be decrypted")
                     ("signed-data" . "one with its signature")))
      (let ((id (smtps-outbox-edit-test-put
                 (concat smtps-outbox-edit-test-head "MIME-Version: 1.0\n"
                         "Content-Type: application/pkcs7-mime; name=smime.p7m; smime-type="
                         type "\nContent-Transfer-Encoding: base64\n\nMIICAQ==\n"))))
        (setq smtps-real-answers '(t))
        (should (string-match-p words
                                (cadr (should-error (smtps-outbox-edit-test-edit id)
                                                    :type 'user-error))))
        (should (equal (smtps-outbox-states-of id) '(held)))))
    (smtps-outbox-edit-test-edit
     (smtps-outbox-edit-test-put
      (concat smtps-outbox-edit-test-head "MIME-Version: 1.0\n"
              "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\";"
              " boundary=b\n\n--b\n\nsigned\n--b\n"
              "Content-Type: application/pkcs7-signature\n\nabc\n--b--\n")))
    (should (string-match-p "^<#secure method=smime mode=sign>\nsigned\n"
                            (buffer-string)))))

(ert-deftest smtps-outbox-edit-test-recipients ()
  "Who has got it is left out of each field, names stay, and Bcc stays blind."
  (smtps-outbox-edit-test-with
    (let ((id (smtps-outbox-edit-test-put
               "From: f@x.example\nTo: \"A, B\" <a@x.example>, Jörg <b@x.example>\n\
Cc: c@x.example,\n c@y.example\nSubject: s\n\ntext\n"
               :recipients '("a@x.example" "b@x.example" "c@x.example" "d@x.example"
                             "e@x.example" "c@y.example"))))
      (smtps-outbox-edit-test-got id 0 2 4)
      (smtps-outbox-edit-test-edit id)
      (should (equal (message-fetch-field "To") "Jörg <b@x.example>"))
      (should (equal (message-fetch-field "Cc") "c@y.example"))
      (should-not (string-search "\n\n" (buffer-string)))
      (should (equal (message-fetch-field "Bcc") "d@x.example"))
      (message-send)
      (let ((sent (smtps-outbox-edit-test-sent)))
        (should (equal (plist-get sent :recipients)
                       '("b@x.example" "c@y.example" "d@x.example")))
        (should-not (string-search "d@x.example" (plist-get sent :text)))))))

(ert-deftest smtps-outbox-edit-test-sent-on ()
  "A mail that was sent on goes on to who has not got it, and stays as it was."
  (smtps-outbox-edit-test-with
    (let ((resend (lambda ()
                    (with-temp-buffer
                      (insert "From: Orig <orig@x.example>\nTo: f@x.example\n\
Cc: other@x.example\nMessage-ID: <o@x.example>\nDate: Mon, 02 Nov 2026 10:00:00 +0000\n\
Subject: Sent on\n\n  body \n")
                      (message-resend "r@x.example, grey@x.example"))
                    (plist-get (smtps-outbox-edit-test-sent) :id)))
          id sent)
      (let ((smtpmail-queue-mail t))
        (setq id (funcall resend)))
      (smtps-outbox-edit-test-got id 0)
      (setq smtps-real-answers (list (lambda (initial)
                                       (should (equal initial "grey@x.example"))
                                       "green@x.example")))
      (smtps-outbox-edit-test-edit id)
      (setq sent (smtps-outbox-edit-test-sent))
      (should (equal (plist-get sent :recipients) '("green@x.example")))
      (should (equal (plist-get sent :state) 'queue))
      (dolist (line '("^Resent-To: green@x.example$" "^To: f@x.example$"
                      "^Cc: other@x.example$" "^Message-ID: <o@x.example>$"
                      "^Resent-From: Me <f@x.example>$" "^Resent-Message-ID: <"
                      "^Date: Mon, 02 Nov 2026 10:00:00 \\+0000$" "\n\n  body \n\\'"))
        (should (string-match-p line (plist-get sent :text))))
      (should-not (string-match-p "grey" (plist-get sent :text)))
      (delete-directory (plist-get sent :directory) t)
      ;; Taken back, the old one is dropped once it goes to another.
      (let ((smtps-send-delay 600))
        (funcall resend)
        (setq smtps-real-answers (list (lambda (_) "blue@x.example")))
        (with-temp-buffer (smtps-undo-send))
        (should (equal (plist-get (smtps-outbox-edit-test-sent) :recipients)
                       '("blue@x.example")))
        ;; Or it stays, held, if its user says no more.
        (setq smtps-real-answers (list (lambda (_) (signal 'quit nil))))
        (with-temp-buffer (smtps-undo-send))
        (should (equal (plist-get (smtps-outbox-edit-test-sent) :state) 'held))
        (should (smtps-real-told-p "Taken back, not sent: .+\\.  The mail is held"))))))

(ert-deftest smtps-outbox-edit-test-twice ()
  "A mail is edited in one buffer, and sent instead of the old one once."
  (smtps-outbox-edit-test-with
    (let ((id (smtps-outbox-edit-test-put
               (concat smtps-outbox-edit-test-head "\ntext\n") :state 'queue))
          buffer)
      (smtps-outbox-edit-test-edit id)
      (setq buffer (current-buffer))
      (smtps-outbox-edit-test-edit id)
      (should (eq (current-buffer) buffer))
      ;; No helper is needed to drop the old one, and what is told stays.
      (message-send)
      (smtps-outbox-edit-test-sent)
      (should (string-match-p "safe in the outbox, but was not sent yet"
                              (car smtps-real-told)))
      (should-not (smtps-real-told-p "as it was before"))
      ;; Another Emacs may have edited it, too.
      (setq id (plist-get (smtps-outbox-edit-test-sent) :id))
      (kill-buffer buffer)
      (smtps-outbox-edit-test-edit id)
      (delete-directory (smtps-outbox--directory "held" id) t)
      (setq smtps-real-answers '(nil))
      (should-error (message-send) :type 'user-error)
      (should (string-match-p "before edited is no longer in the outbox"
                              (car smtps-real-questions)))
      (should-not (smtps-outbox-entries))
      (setq smtps-real-answers '(t))
      (message-send)
      (setq id (plist-get (smtps-outbox-edit-test-sent) :id))
      ;; Or let it go in the very moment in which this one is written.
      (smtps-outbox-edit-test-edit id)
      (cl-letf* ((write (symbol-function 'smtps-outbox--write-file))
                 ((symbol-function 'smtps-outbox--write-file)
                  (lambda (file)
                    (smtps-outbox-move id 'held 'queue)
                    (funcall write file))))
        (should (string-match-p "just taken up by somebody else"
                                (cadr (should-error (message-send)
                                                    :type 'user-error)))))
      (should (equal id (plist-get (smtps-outbox-edit-test-sent) :id)))
      (should-not (smtps-outbox--names "tmp")))))

(ert-deftest smtps-outbox-edit-test-composed-in ()
  "The buffer in which it was composed comes back, with its tags, if it is there."
  (smtps-outbox-edit-test-with
    (message-mail "a@x.example" "Composed here")
    (message-goto-body)
    (insert "<#part type=text/plain disposition=inline>\nX\n<#/part>\n")
    (message-send)
    (let ((buffer (current-buffer)))
      (smtps-outbox-edit-test-edit (plist-get (smtps-outbox-edit-test-sent) :id))
      (should (eq (current-buffer) buffer))
      (message-send)
      (smtps-outbox-edit-test-sent))))

(ert-deftest smtps-outbox-edit-test-emacs-died ()
  "A mail that was being edited when its Emacs died is told of by the next, once."
  (smtps-outbox-edit-test-with
    (let* ((smtps-mode t)
           (text (concat smtps-outbox-edit-test-head "\ntext\n"))
           (id (smtps-outbox-edit-test-put text :state 'queue))
           (held "“Was sent”: It is held, since it was being edited"))
      (smtps-outbox-edit-test-edit id)
      (smtps-untold-tell)
      (should-not (smtps-real-told-p held))
      ;; A process that is no more, as which this one was before.
      (let ((file (car (file-expand-wildcards
                        (smtps-outbox--directory "held" id "edited.*")))))
        (rename-file file (replace-regexp-in-string
                           "edited\\.[0-9]+" "edited.4194305" file)))
      (smtps-untold-tell)
      (should (smtps-real-told-p held))
      (setq smtps-real-told nil)
      (smtps-untold-tell)
      (should-not (smtps-real-told-p held))
      (setq smtps-real-answers '(?s))
      (message-kill-buffer)
      (should (equal (smtps-outbox-states-of id) '(queue)))
      ;; Who gives it up, knows.
      (smtps-outbox-edit-test-edit id)
      (setq smtps-real-answers '(?h))
      (message-kill-buffer)
      (should (equal (smtps-outbox-states-of id) '(held)))
      (should-not (smtps-outbox-edited (smtps-outbox--directory "held" id))))))

(ert-deftest smtps-outbox-edit-test-given-up ()
  "Who kills the buffer is asked what becomes of the mail that was going out."
  (smtps-outbox-edit-test-with
    (let* ((later (+ 86400 (time-convert nil 'integer)))
           (text (concat smtps-outbox-edit-test-head "\ntext\n"))
           (id (smtps-outbox-edit-test-put text :state 'queue :not-before later))
           (edit (lambda ()
                   (smtps-outbox-edit-test-edit id)
                   (should (equal (smtps-outbox-states-of id) '(held)))
                   (should (equal (smtps-outbox-edit-buffers)
                                  (list (current-buffer))))
                   (should (eq (smtps-mode-line--needs nil) 'edit)))))
      (funcall edit)
      (setq smtps-real-answers '(?s))
      (message-kill-buffer)
      (should (equal (smtps-outbox-states-of id) '(queue)))
      (should (smtps-outbox-delayed-p (smtps-outbox-find id)))
      (should (smtps-real-told-p "“Was sent”: It goes to own.example in .+ on "))
      (funcall edit)
      ;; Quitting asks, too.
      (cl-letf (((symbol-function 'terminal-name) (lambda () "/dev/tty1")))
        (setq smtps-real-answers '(?n ?h))
        (should-not (smtps-outbox-edit-query-quit))
        (should (smtps-outbox-edit-query-quit)))
      (should (string-match-p "A mail is held while you edit" (car smtps-real-questions)))
      (setq smtps-real-answers '(?h))
      (kill-buffer)
      (should (equal (smtps-outbox-states-of id) '(held)))
      (should (smtps-real-told-p "held as it was before you edited it: in M-x smtps-outbox, h lets"))
      (should-not (eq (smtps-mode-line--needs nil) 'edit))
      ;; What was held before, nobody need ask about.
      (smtps-outbox-edit-test-edit id)
      (kill-buffer)
      (should (equal (smtps-outbox-states-of id) '(held)))
      (smtps-outbox-move id 'held 'queue)
      (funcall edit)
      (setq smtps-real-answers '(?d))
      (kill-buffer)
      (should-not (smtps-outbox-entries))
      (should (smtps-real-told-p "“Was sent”: The mail was deleted")))))

(ert-deftest smtps-outbox-edit-test-inherits ()
  "Its time, its account, its sender and what was asked of the server stay."
  (smtps-outbox-edit-test-with
    (let* ((later (+ 86400 (time-convert nil 'integer)))
           (text (concat smtps-outbox-edit-test-head "\ntext\n"))
           (other '(:host "other.example" :port 2525 :tls starttls :user "me")))
      (smtps-outbox-edit-test-edit
       (smtps-outbox-edit-test-put
        text :state 'queue :not-before later :account other :from "bounces@x.example"
        :wishes '(:ret "hdrs" :envid "e1" :hold-until "2031-01-01T00:00:00Z")
        :notices '(("a@x.example" :notify (never)))))
      (should (smtps-real-told-p "It goes by other.example, as before"))
      (should (smtps-real-told-p "It goes on 2.+, as before"))
      (should (string-match-p "Goes by other.example, as me" (smtps-route--text)))
      (message-send)
      (let* ((entry (smtps-outbox-edit-test-sent))
             (envelope (smtps-real-file (format "outbox/queue/%s/envelope.sexp"
                                                (plist-get entry :id)))))
        (should (equal (plist-get entry :not-before) later))
        (dolist (key '(:host :port :tls :user))
          (should (equal (plist-get (plist-get entry :account) key)
                         (plist-get other key))))
        (should (string-search "(mail \"bounces@x.example\" :ret \"hdrs\" :envid \"e1\")"
                               envelope))
        (should (string-search "(rcpt \"a@x.example\" :notify (never))" envelope))
        ;; Taken back, and from another author, it goes by that one's account.
        (smtps-undo-send)
        (set-buffer (window-buffer))
        (save-excursion
          (goto-char (point-min))
          (search-forward "f@x.example")
          (replace-match "g@x.example"))
        (message-send)
        (setq entry (smtps-outbox-edit-test-sent))
        (should (equal (plist-get entry :not-before) later))
        (should (equal (plist-get (plist-get entry :account) :host) "own.example"))
        (should (equal (plist-get entry :from) "g@x.example"))))))

(ert-deftest smtps-outbox-edit-test-method ()
  "A server that X-Message-SMTP-Method named is the one still."
  (smtps-outbox-edit-test-with
    (message-mail "a@x.example" "By another")
    (message-add-header "X-Message-SMTP-Method: smtp other.example 2525 me")
    (smtps-send-buffer)
    (set-buffer-modified-p nil)
    (kill-buffer)
    (smtps-outbox-edit-test-edit (plist-get (smtps-outbox-edit-test-sent) :id))
    (message-send)
    (should (equal (plist-get (plist-get (smtps-outbox-edit-test-sent) :account) :host)
                   "other.example"))
    ;; An account that was mended is taken as it is now.
    (let ((id (smtps-outbox-edit-test-put
               (concat smtps-outbox-edit-test-head "\ntext\n")
               :account '(:name "own" :host "misspelt.example" :port 465 :tls implicit))))
      (smtps-outbox-edit-test-edit id)
      (message-send)
      (should (equal (sort (mapcar (lambda (entry)
                                     (plist-get (plist-get entry :account) :host))
                                   (smtps-outbox-entries))
                           #'string<)
                     '("other.example" "own.example"))))))

(provide 'smtps-outbox-edit-test)
;;; smtps-outbox-edit-test.el ends here
