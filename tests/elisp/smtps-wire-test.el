;;; smtps-wire-test.el --- Tests of the wire form  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The golden frames in tests/wire are the ones that the helper's tests read.
;; good.txt has pairs of lines, a frame and its value in JSON; bad.txt has
;; a frame a line, in which %XX stands for an octet.

;;; Code:

(require 'ert)
(require 'json)
(require 'seq)
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

(defun smtps-wire-test--described (value)
  "Return the value that the JSON value VALUE describes."
  (pcase value
    (`((symbol . ,name)) (intern name))
    (`((keyword . ,name)) (intern (concat ":" name)))
    ((pred vectorp) (mapcar #'smtps-wire-test--described value))
    (_ value)))

(ert-deftest smtps-wire-test-good-frames ()
  (let ((pairs (seq-partition (smtps-wire-test--lines "good.txt") 2)))
    (should (> (length pairs) 35))
    (pcase-dolist (`(,frame ,json) pairs)
      (ert-info (frame)
        (let ((value (smtps-wire-read frame)))
          (should (equal value (smtps-wire-test--described
                                ;; `json-parse-string' takes no NUL.
                                (let ((json-null nil) (json-object-type 'alist))
                                  (json-read-from-string json)))))
          (should (equal (smtps-wire-print value) frame))
          (should (equal (smtps-wire-read (smtps-wire-decode (smtps-wire-encode value)))
                         value)))))))

(ert-deftest smtps-wire-test-bad-frames ()
  (let ((lines (smtps-wire-test--lines "bad.txt")))
    (should (> (length lines) 60))
    (dolist (line lines)
      (ert-info (line)
        (let ((octets (replace-regexp-in-string
                       "%\\([0-9A-F][0-9A-F]\\)"
                       (lambda (match)
                         (unibyte-string (string-to-number (substring match 1) 16)))
                       (encode-coding-string line 'utf-8-unix) t t)))
          (should-error (smtps-wire-read (smtps-wire-decode octets))
                        :type 'smtps-wire-error))))))

(ert-deftest smtps-wire-test-values-outside-the-grammar ()
  (dolist (value (list 1.5 [a] '(a . b) '(:a 1 . 2) "\377" (string-to-multibyte "\377")
                       "\ud800" (string #x110000)
                       'A '## 'a_b 'nan 'inf '(a infinity) (make-symbol "") (intern ",")
                       (list (make-string 70000 ?x)) (make-string 33000 ?é)
                       (1+ most-positive-fixnum) (1- most-negative-fixnum)
                       (make-hash-table) (current-buffer) #'car-safe
                       (let ((round (list 'a))) (setcdr round round))
                       (let (deep) (dotimes (_ 18) (setq deep (list deep))) deep)))
    (unless (eq value 'car-safe)
      (should-error (smtps-wire-print value) :type 'smtps-wire-error))))

(ert-deftest smtps-wire-test-characters-outside-unicode-are-refused ()
  (dolist (character '(#xd800 #xdfff #x110000 #x3fff7f #x3fff80 #x3fffff))
    (ert-info ((format "%x" character))
      (let ((text (concat "a" (string character))))
        (should-error (smtps-wire-print text) :type 'smtps-wire-error)
        (should-error (smtps-wire-read (concat "\"" text "\"")) :type 'smtps-wire-error)))))

(ert-deftest smtps-wire-test-error-text-has-no-value ()
  (let ((err (should-error (smtps-wire-print '(a Hunter2)) :type 'smtps-wire-error)))
    (should-not (string-search "unter2" (format "%S" err)))))

(ert-deftest smtps-wire-test-variables-do-not-matter ()
  (let ((print-length 1) (print-level 1) (print-escape-nonascii t) (print-quoted t)
        (print-escape-newlines nil) (print-escape-control-characters t)
        (print-circle t) (print-gensym t) (print-integers-as-characters t)
        (print-symbols-bare nil) (float-output-format "%d") (case-fold-search t)
        (read-circle t) (text '(a (b (c)) "é\n\e\1" quote x 65)))
    (ignore print-symbols-bare)
    (should (equal (smtps-wire-print text)
                   "(a (b (c)) \"é\\n\\u001b\\u0001\" quote x 65)"))
    (should-error (smtps-wire-print 'Upper) :type 'smtps-wire-error)
    (should-error (smtps-wire-read "Upper") :type 'smtps-wire-error)
    (should (equal (smtps-wire-read (smtps-wire-print text)) text))))

(ert-deftest smtps-wire-test-properties-stay-here ()
  (should (equal (smtps-wire-print (propertize "a\n" 'face 'bold)) "\"a\\n\"")))

(ert-deftest smtps-wire-test-reading-keeps-the-match ()
  (string-match "b" "abc")
  (smtps-wire-read "(a b)")
  (should (equal (match-data) '(1 2))))

(ert-deftest smtps-wire-test-limits ()
  (let ((most (make-string (- smtps-wire-line-limit 3) ?x)))
    (should (equal (smtps-wire-read (smtps-wire-print most)) most))
    (should-error (smtps-wire-print (concat most "x")) :type 'smtps-wire-error)
    (should-error (smtps-wire-read (concat "\"" most "x\"")) :type 'smtps-wire-error)))

(ert-deftest smtps-wire-test-longest-lines-are-checked-in-time ()
  "The regexp engine must neither run out of stack nor go back and forth."
  (dolist (text (list (concat "\"" (apply #'concat (make-list 32000 "\\n")) "\"")
                      (concat "\"" (apply #'concat (make-list 10000 "\\u0001")) "\"")
                      (concat "\"" (make-string 65000 ?x))
                      (concat "\"" (apply #'concat (make-list 32000 "\\n")))
                      (make-string 65000 ?\")
                      (make-string 65000 ?\()
                      (make-string 65000 ?\s)
                      (concat "(" (make-string 65000 ?a) ")")
                      (concat "(" (apply #'concat (make-list 32000 "a ")) ")")
                      (concat "(" (apply #'concat (make-list 32000 "()")) ")")))
    (let ((begun (float-time)))
      (condition-case nil (smtps-wire-read text) (smtps-wire-error nil))
      ;; Some 50 ms for the slowest, not compiled; a hundred times more is a fault.
      (should (< (- (float-time) begun) 5)))))

(defun smtps-wire-test--split (text size)
  "Return the lines and the rest of TEXT that comes in pieces of SIZE."
  (let ((rest nil) (lines nil) (at 0))
    (while (< at (length text))
      (let* ((next (min (length text) (+ at size)))
             (split (smtps-wire-split rest (substring text at next))))
        (setq lines (append lines (car split)) rest (cdr split) at next)
        (should (or (eq rest 'drop)
                    (< (or (car rest) 0) smtps-wire-line-limit)))))
    (cons lines (if (consp rest) (apply #'concat (reverse (cdr rest))) rest))))

(ert-deftest smtps-wire-test-split-does-not-depend-on-pieces ()
  (let ((text (encode-coding-string "one\ntwo é\n\nthree\nfo" 'utf-8-unix)))
    (dolist (size '(1 2 3 4 5 7 100))
      (should (equal (smtps-wire-test--split text size)
                     (cons (list "one" (encode-coding-string "two é" 'utf-8-unix)
                                 "" "three")
                           "fo"))))))

(ert-deftest smtps-wire-test-endless-line-is-dropped ()
  (dolist (size '(7 10000 65536 1000000))
    (should (equal (smtps-wire-test--split (concat (make-string 200000 ?x) "\nnext\n") size)
                   '((too-long "next") . "")))))

(ert-deftest smtps-wire-test-longest-line-is-whole ()
  (let ((longest (make-string (1- smtps-wire-line-limit) ?x)))
    (should (equal (smtps-wire-test--split (concat longest "\n") 5000)
                   (cons (list longest) "")))))

(provide 'smtps-wire-test)
;;; smtps-wire-test.el ends here
