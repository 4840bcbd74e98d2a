;;; smtps-ways-test.el --- Mail from Rmail, bug reports, with parts  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Ways in which Emacs writes mail that have no file of their own here, each
;; with `smtps-mode' as its whole set-up, and what the server stored.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps-real)
(require 'rmail)
(require 'emacsbug)
(require 'mml)
(require 'mml-sec)

(defmacro smtps-ways-test-with (&rest body)
  "Evaluate BODY where `smtps-mode' is on and the sandbox is the account."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (let ((send-mail-function nil)
           (message-send-mail-function nil)
           (mail-user-agent 'message-user-agent)
           (mail-specify-envelope-from nil))
       (smtps-real-own-account)
       (smtps-mode 1)
       (unwind-protect
           (progn ,@body)
         (smtps-mode -1)))))

(defun smtps-ways-test-octets (file)
  "Return the octets of FILE."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert-file-contents-literally file)
    (buffer-string)))

(defun smtps-ways-test-arrived ()
  "Wait for the one mail that the sandbox gets; return it, with LF."
  (smtps-real-until (equal (smtps-real-state) '(sent)))
  (let ((files (directory-files-recursively (smtps-real-property :maildir) "\\`[^.]")))
    (should (= (length files) 1))
    (string-replace "\r\n" "\n" (smtps-ways-test-octets (car files)))))

(defun smtps-ways-test-line (regexp mail)
  "Fail unless a line of MAIL matches REGEXP, whatever its case."
  (let ((case-fold-search t))
    (should (string-match-p (concat "^" regexp) mail))))

(defmacro smtps-ways-test-in-rmail (&rest body)
  "Evaluate BODY where Rmail shows a mail, with `smtps-mode' on."
  (declare (indent 0) (debug t))
  `(smtps-ways-test-with
     (let* ((rmail-file-name (expand-file-name "RMAIL" smtps-real-home))
            (rmail-primary-inbox-list nil)
            (rmail-display-summary nil)
            (mail-personal-alias-file "/nonexistent"))
       (smtps-real-write "RMAIL" "From a@other-host.it Mon Nov  2 10:00:00 2026"
                         "From: A <a@other-host.it>" "To: from-address@poste.it"
                         "Subject: A question" "Message-ID: <parent@other-host.it>"
                         "Date: Mon, 02 Nov 2026 10:00:00 +0000" "" "What?" "")
       (rmail rmail-file-name)
       ,@body)))

(defun smtps-ways-test-answered-p ()
  "Return non-nil if Rmail has its mail marked as answered."
  (with-current-buffer (get-file-buffer rmail-file-name)
    (rmail-message-attr-p 1 "\\`A")))

(ert-deftest smtps-ways-test-rmail-reply ()
  "Rmail marks what was answered when the server has taken the answer."
  (smtps-ways-test-in-rmail
    (rmail-reply t)
    (message-goto-body)
    (insert "That.\n")
    (should-not (smtps-ways-test-answered-p))
    (message-send)
    (let ((mail (smtps-ways-test-arrived)))
      (smtps-ways-test-line "To: A <a@other-host\\.it>$" mail)
      (smtps-ways-test-line "In-Reply-To: .*<parent@other-host\\.it>" mail)
      (should (string-suffix-p "\n\nThat.\n" mail)))
    (smtps-real-until (smtps-ways-test-answered-p))))

(ert-deftest smtps-ways-test-rmail-resend ()
  "What Rmail resends goes to whom it is resent, and to nobody else."
  (smtps-ways-test-in-rmail
    (rmail-resend "to-address@other-host.it")
    (let ((mail (smtps-ways-test-arrived)))
      (smtps-ways-test-line "Resent-To: to-address@other-host\\.it$" mail)
      (smtps-ways-test-line "To: from-address@poste\\.it$" mail)
      (should (string-match-p "\n\nWhat\\?\n+\\'" mail))
      (should (equal (plist-get (car (smtps-outbox-entries)) :recipients)
                     '("to-address@other-host.it"))))))

(ert-deftest smtps-ways-test-bug-report ()
  "A bug report goes as any mail."
  (smtps-ways-test-with
    (let ((report-emacs-bug-no-explanations t)
          (report-emacs-bug-no-confirmation t)
          (report-emacs-bug-address "bugs@other-host.it"))
      (cl-letf (((symbol-function 'y-or-n-p) #'always)
                ((symbol-function 'yes-or-no-p) #'always))
        (report-emacs-bug "It does nothing")
        (message-goto-body)
        (insert "I pressed a key, and nothing came.\n")
        (message-send)))
    (let ((mail (smtps-ways-test-arrived)))
      (smtps-ways-test-line "To: bugs@other-host\\.it$" mail)
      (smtps-ways-test-line "Subject: .*It does nothing$" mail)
      (smtps-ways-test-line "I pressed a key" mail))))

(ert-deftest smtps-ways-test-attachment ()
  "What is attached arrives octet by octet."
  (smtps-ways-test-with
    (let ((octets (apply #'unibyte-string (number-sequence 0 255)))
          (coding-system-for-write 'binary)
          (file (expand-file-name "octets.bin" smtps-real-home)))
      (write-region octets nil file nil 'silent)
      (message-mail "to-address@other-host.it" "With a file")
      (message-goto-body)
      (insert "Grüße.\n")
      (mml-attach-file file "application/octet-stream" "all octets" "attachment")
      (message-send)
      (let ((mail (smtps-ways-test-arrived)))
        (smtps-ways-test-line "Content-Type: multipart/mixed" mail)
        (smtps-ways-test-line "Content-Disposition: attachment; filename=octets\\.bin" mail)
        (should (string-match "octets\\.bin\\(?:.*\n\\)+?\n\\([A-Za-z0-9+/=\n]+\\)\n--" mail))
        (should (equal (base64-decode-string (match-string 1 mail)) octets))))))

(ert-deftest smtps-ways-test-signed ()
  "What was signed is left as it is, octet by octet."
  (smtps-ways-test-with
    (let ((text (concat "From: from-address@poste.it\nTo: to-address@other-host.it\n"
                        "Subject: Signed\nMIME-Version: 1.0\n"
                        "Content-Type: multipart/signed; boundary=\"b\"; micalg=pgp-sha256;\n"
                        "\tprotocol=\"application/pgp-signature\"\n\n"
                        "--b\nContent-Type: text/plain\n\n"
                        "-- \n.A dot, blanks  \nFrom here\n\tand a tab \n\n"
                        "--b\nContent-Type: application/pgp-signature\n\n"
                        "-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"
                        "--b--\n")))
      (with-temp-buffer
        (insert text)
        (smtps-send-buffer))
      (let ((mail (smtps-ways-test-arrived)))
        (should (string-suffix-p (substring text (string-search "\n\n" text)) mail))
        (should (string-search "micalg=pgp-sha256;\n\tprotocol=" mail))))))

(provide 'smtps-ways-test)
;;; smtps-ways-test.el ends here
