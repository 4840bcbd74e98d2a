;;; checkdoc.el --- Fail on what checkdoc finds  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; `checkdoc-file' exits with 0 whatever it finds; this counts.

;;; Code:

(require 'checkdoc)

(defvar checkdoc-gate--found 0
  "How much was found.")

(setq checkdoc-create-error-function
      (lambda (text start _end &optional _unfixable)
        (setq checkdoc-gate--found (1+ checkdoc-gate--found))
        (message "%s:%s: %s" (buffer-file-name)
                 (and start (line-number-at-pos start)) text)
        nil))

(dolist (file command-line-args-left)
  (with-current-buffer (find-file-noselect file)
    (checkdoc-current-buffer t)))

(kill-emacs (if (> checkdoc-gate--found 0) 1 0))
;;; checkdoc.el ends here
