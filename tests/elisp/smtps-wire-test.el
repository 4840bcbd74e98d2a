;;; smtps-wire-test.el --- Tests of the wire form  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The golden frames in tests/wire are the ones that the helper's tests read.

;;; Code:

(require 'ert)
(require 'smtps-wire)

(defconst smtps-wire-test--directory
  (expand-file-name "../wire/" (file-name-directory (or load-file-name buffer-file-name)))
  "Where the golden frames are.")

(defun smtps-wire-test--lines (name)
  "Return the lines of the file NAME of golden frames."
  (with-temp-buffer
    (let ((coding-system-for-read 'utf-8-unix))
      (insert-file-contents (expand-file-name name smtps-wire-test--directory)))
    (split-string (buffer-string) "\n" t)))

(ert-deftest smtps-wire-test-good-frames ()
  (let ((lines (smtps-wire-test--lines "good.txt")))
    (should (> (length lines) 20))
    (dolist (line lines)
      (should (equal (smtps-wire-print (smtps-wire-read line)) line)))))

(ert-deftest smtps-wire-test-bad-frames ()
  (let ((lines (smtps-wire-test--lines "bad.txt")))
    (should (> (length lines) 30))
    (dolist (line lines)
      (ert-info (line) (should-error (smtps-wire-read line) :type 'smtps-wire-error)))))

(ert-deftest smtps-wire-test-values-outside-the-grammar ()
  (dolist (value (list 1.5 [a] '(a . b) "\377" (string-to-multibyte "\377") 'A '## 'a_b
                       (list (make-string 70000 ?x)) (1+ most-positive-fixnum)
                       (let (deep) (dotimes (_ 18) (setq deep (list deep))) deep)))
    (should-error (smtps-wire-print value) :type 'smtps-wire-error)))

(ert-deftest smtps-wire-test-print-variables-do-not-matter ()
  (let ((print-length 1) (print-level 1) (print-escape-nonascii t) (print-quoted t))
    (should (equal (smtps-wire-print '(a (b (c)) "é" quote x)) "(a (b (c)) \"é\" quote x)"))))

(ert-deftest smtps-wire-test-split-does-not-depend-on-pieces ()
  (let ((text "one\ntwo é\n\nthree\n"))
    (dotimes (size 6)
      (let ((rest "") (lines nil) (at 0))
        (while (< at (length text))
          (let* ((next (min (length text) (+ at size 1)))
                 (split (smtps-wire-split rest (substring text at next))))
            (setq lines (append lines (car split)) rest (cdr split) at next)))
        (should (equal lines '("one" "two é" "" "three")))
        (should (equal rest ""))))))

(ert-deftest smtps-wire-test-endless-line-is-dropped ()
  (let ((rest "") (lines nil))
    (dotimes (_ 20)
      (let ((split (smtps-wire-split rest (make-string 10000 ?x))))
        (setq lines (append lines (car split)) rest (cdr split))))
    (let ((split (smtps-wire-split rest "\nnext\n")))
      (setq lines (append lines (car split)) rest (cdr split)))
    (should (equal lines '(too-long "next")))
    (should (equal rest ""))))

(provide 'smtps-wire-test)
;;; smtps-wire-test.el ends here
