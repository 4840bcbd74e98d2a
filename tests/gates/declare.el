;;; declare.el --- Fail on what check-declare finds  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Needs the source of Emacs's libraries, which Debian has in emacs-el.

;;; Code:

(require 'check-declare)
(require 'seq)

(defun declare-gate-primitive-p (finding)
  "Return non-nil if FINDING says that the source of a C function is missing.
FINDING is a list (FILE FUNCTION COMPLAINT); nobody has that source."
  (pcase-let ((`(,_file ,function ,complaint) finding))
    (and (equal complaint "file not found")
         (subrp (symbol-function (intern function))))))

(let ((findings (mapcan (lambda (file) (copy-sequence (cdr file)))
                        (apply #'check-declare-files command-line-args-left))))
  (kill-emacs (if (seq-remove #'declare-gate-primitive-p findings) 1 0)))

;;; declare.el ends here
