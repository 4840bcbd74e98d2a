;;; package-lint.el --- Fail on what package-lint finds  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; `package-lint-batch-and-exit' asks package archives what can be
;; installed; this asks nobody, which Emacs alone as a dependency allows.

;;; Code:

(require 'package-lint)

(defvar package-lint-gate-allowed
  '(;; The prefix is Eshell's own, and by it users find the command.
    ("smtps-eshell\\.el\\'" . "[\"`]eshell/smtps[\"']")
    ("smtps\\.el\\'" . "Homepage or URL header")
    ;; Said of Emacs 28 by a package-lint that knows of none newer than 27.
    ("smtps\\.el\\'" . "uninstallable in all released Emacs versions"))
  "What is right all the same: an alist of file -> finding, both regexps.")

(defun package-lint-gate-allowed-p (file finding)
  "Return non-nil if FINDING in FILE is right all the same."
  (seq-some (lambda (allowed)
              (and (string-match-p (car allowed) file)
                   (string-match-p (cdr allowed) finding)))
            package-lint-gate-allowed))

(setq package-lint-main-file (expand-file-name "elisp/smtps.el"))

(let ((found 0))
  (dolist (file command-line-args-left)
    (with-current-buffer (find-file-noselect file)
      (emacs-lisp-mode)
      (pcase-dolist (`(,line ,_column ,kind ,finding) (package-lint-buffer))
        (unless (package-lint-gate-allowed-p file finding)
          (setq found (1+ found))
          (message "%s:%d: %s: %s" file line kind finding)))))
  (kill-emacs (if (> found 0) 1 0)))

;;; package-lint.el ends here
