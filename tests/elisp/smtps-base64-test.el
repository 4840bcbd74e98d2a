;;; smtps-base64-test.el --- Tests of base64  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps-base64)

(ert-deftest smtps-base64-test-no-line-breaks-and-utf-8 ()
  (let ((text (make-string 2000 ?é)))
    (should-not (string-match-p "\n" (smtps-base64-encode-string text)))
    (should (equal (smtps-base64-decode-string (smtps-base64-encode-string text)) text)))
  (pcase-dolist (`(,text . ,encoded) '(("" . "") ("Username:" . "VXNlcm5hbWU6")
                                       ("Password:" . "UGFzc3dvcmQ6") ("é" . "w6k=")
                                       ("\0a\n" . "AGEK") ("🙂" . "8J+Zgg==")))
    (should (equal (smtps-base64-encode-string text) encoded))
    (should (equal (smtps-base64-decode-string encoded) text))))

(ert-deftest smtps-base64-test-the-text-itself-stays ()
  (let ((text (copy-sequence "secret")))
    (smtps-base64-encode-string text)
    (should (equal text "secret"))))

(ert-deftest smtps-base64-test-blanks-and-line-breaks-do-not-count ()
  (should (equal (smtps-base64-decode-string " VXNl\r\n cm5h\tbWU6\n") "Username:")))

(ert-deftest smtps-base64-test-octets-that-are-no-text-are-kept ()
  (let ((text (smtps-base64-decode-string "6f9h")))
    (should (= (length text) 3))
    (should (equal (smtps-base64-encode-string text) "6f9h"))))

(ert-deftest smtps-base64-test-not-base64 ()
  (dolist (text '("!" "a" "abc" "é" "ab=c" "a===" "=" "ab_-" "QQ==QQ==" "abcd!"))
    (let ((err (should-error (smtps-base64-decode-string text) :type 'smtps-base64-error)))
      (should (string-match-p "not base64" (cadr err)))
      (should (memq 'smtps-error (get (car err) 'error-conditions))))))

(ert-deftest smtps-base64-test-auth-plain ()
  (should (equal (smtps-base64-decode-string
                  (smtps-base64-auth-plain "u" "pässwörd \"quoted\" 100%"))
                 "\0u\0pässwörd \"quoted\" 100%"))
  (pcase-dolist (`(,user ,password) '(("" "p") ("u" "") ("u\0" "p") ("u" "\0p")))
    (should-error (smtps-base64-auth-plain user password) :type 'smtps-base64-error)))

(ert-deftest smtps-base64-test-auth-plain-by-a-command ()
  (with-temp-buffer
    (let ((password (copy-sequence "pässwörd")))
      (cl-letf (((symbol-function 'read-string) (lambda (&rest _) "u"))
                ((symbol-function 'read-passwd) (lambda (&rest _) password)))
        (call-interactively #'smtps-base64-auth-plain))
      (should (equal (smtps-base64-decode-string (buffer-string)) "\0u\0pässwörd"))
      (should-not (string-match-p "p" password)))
    (setq buffer-read-only t)
    (should-error (call-interactively #'smtps-base64-auth-plain) :type 'buffer-read-only)))

(ert-deftest smtps-base64-test-regions ()
  (with-temp-buffer
    (insert "a é b")
    (smtps-base64-encode-region 3 4)
    (should (equal (buffer-string) "a w6k= b"))
    (smtps-base64-decode-region 3 7)
    (should (equal (buffer-string) "a é b"))
    (should-error (smtps-base64-decode-region 1 4) :type 'smtps-base64-error)
    (should (equal (buffer-string) "a é b"))))

(ert-deftest smtps-base64-test-at-point ()
  (with-temp-buffer
    (insert "recv> 334 UGFzc3dvcmQ6\n")
    (goto-char 14)
    (should (equal (smtps-base64-decode-at-point) "Password:"))
    ;; "recv" could be base64, too.
    (goto-char (point-min))
    (should (equal (smtps-base64-decode-at-point) "Password:"))
    (goto-char (point-max))
    (should-error (smtps-base64-decode-at-point) :type 'smtps-base64-error)))

(ert-deftest smtps-base64-test-a-person-reads-no-lisp ()
  (with-temp-buffer
    (insert "not base64\n\n")
    (goto-char 5)
    (should (equal (should-error (call-interactively #'smtps-base64-decode-at-point))
                   '(user-error "This is not base64: of 6 characters, which is no \
multiple of four, some are missing")))
    (goto-char (point-max))
    (should (equal (should-error (call-interactively #'smtps-base64-decode-at-point))
                   '(user-error "There is no base64 at point")))
    (set-mark (point-min))
    (should (eq (car (should-error (call-interactively #'smtps-base64-decode-region)))
                'user-error))
    (should (equal (buffer-string) "not base64\n\n"))
    (cl-letf (((symbol-function 'read-string) (lambda (&rest _) ""))
              ((symbol-function 'read-passwd) (lambda (&rest _) "p")))
      (should (eq (car (should-error (call-interactively #'smtps-base64-auth-plain)))
                  'user-error)))))

(ert-deftest smtps-base64-test-what-is-shown-is-kept-nowhere ()
  (let (shown logged)
    (with-temp-buffer
      (insert (smtps-base64-auth-plain "u" "p\n\e"))
      (cl-letf (((symbol-function 'message)
                 (lambda (format &rest arguments)
                   (setq shown (apply #'format format arguments)
                         logged message-log-max))))
        (call-interactively #'smtps-base64-decode-at-point)))
    (should (equal shown "“\\0u\\0p\\n^[”"))
    (should-not logged)))

(provide 'smtps-base64-test)
;;; smtps-base64-test.el ends here
