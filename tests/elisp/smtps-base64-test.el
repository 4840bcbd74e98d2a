;;; smtps-base64-test.el --- Tests of base64  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'ert)
(require 'smtps-base64)

(ert-deftest smtps-base64-test-no-line-breaks-and-utf-8 ()
  (let ((text (make-string 200 ?é)))
    (should-not (string-match-p "\n" (smtps-base64-encode-string text)))
    (should (equal (smtps-base64-decode-string (smtps-base64-encode-string text)) text)))
  (should (equal (smtps-base64-encode-string "Username:") "VXNlcm5hbWU6")))

(ert-deftest smtps-base64-test-auth-plain ()
  (should (equal (smtps-base64-decode-string
                  (smtps-base64-auth-plain "u" "pässwörd \"quoted\" 100%"))
                 "\0u\0pässwörd \"quoted\" 100%")))

(ert-deftest smtps-base64-test-not-base64 ()
  (dolist (text '("!" "a" "abc" "é"))
    (should-error (smtps-base64-decode-string text) :type 'smtps-base64-error)))

(ert-deftest smtps-base64-test-regions ()
  (with-temp-buffer
    (insert "a é b")
    (smtps-base64-encode-region 3 4)
    (should (equal (buffer-string) "a w6k= b"))
    (goto-char 5)
    (should (equal (smtps-base64-decode-at-point) "é"))
    (smtps-base64-decode-region 3 7)
    (should (equal (buffer-string) "a é b"))
    (goto-char (point-max))
    (insert " ")
    (should-error (smtps-base64-decode-at-point) :type 'smtps-base64-error)))

(provide 'smtps-base64-test)
;;; smtps-base64-test.el ends here
