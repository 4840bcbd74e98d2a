;;; smtps-eshell.el --- The smtps command in Eshell  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Eshell can't feed its input to Lisp, nor can Lisp set its exit status: so
;; whatever reads, waits or fails is the real command, and only base64 is
;; Lisp.

;;; Code:

(require 'smtps-base64)

(declare-function eshell-parse-command "esh-cmd" (command &optional args toplevel))
(declare-function smtps-helper-program "smtps-helper" ())

;;;###autoload
(defun eshell/smtps (&rest args)
  "Run the verb in ARGS of `smtps': a host, or session, send, base64, sandbox."
  (let ((words (mapcar (lambda (word) (format "%s" word)) (flatten-tree args))))
    (pcase words
      (`("base64" "-d" ,text) (smtps-base64-decode-string text))
      (`("base64" ,(and text (guard (not (string-prefix-p "-" text)))))
       (smtps-base64-encode-string text))
      (_
       (require 'smtps-helper)
       (let ((program (smtps-helper-program)))
         (throw 'eshell-replace-command
                (eshell-parse-command (concat "*" (car program))
                                      (append (cdr program) words))))))))

(provide 'smtps-eshell)
;;; smtps-eshell.el ends here
