;;; smtps-eshell.el --- The smtps command in Eshell  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Eshell can't feed its input to Lisp, nor can Lisp set its exit status: so
;; whatever reads, waits or fails is replaced by the real command, and only
;; base64 of a text that is given is Lisp.

;;; Code:

(require 'smtps-base64)

(declare-function eshell-parse-command "esh-cmd" (command &optional args toplevel))
(declare-function eshell-quote-argument "esh-arg" (string))
(declare-function smtps-helper-program "smtps-helper" ())
(defvar eshell-complex-commands)

;;;###autoload
(defun smtps-eshell-setup ()
  "Let the command `smtps' of this Eshell buffer replace itself by a program.
A command that is a Lisp function may do so only if it is listed as complex."
  (unless (member "smtps" eshell-complex-commands)
    (setq-local eshell-complex-commands (cons "smtps" eshell-complex-commands))))

;;;###autoload
(add-hook 'eshell-mode-hook #'smtps-eshell-setup)

(defun smtps-eshell--run (words)
  "Have Eshell run the real command with WORDS in place of ours."
  (when (file-remote-p default-directory)
    (user-error "The smtps command runs on this machine only; cd to a directory of it"))
  (require 'smtps-helper)
  (let ((program (smtps-helper-program)))
    (condition-case nil
        (throw 'eshell-replace-command
               (eshell-parse-command
                ;; The star keeps an alias or a function of that name out.
                (concat "*" (eshell-quote-argument (car program)))
                (append (cdr program) words)))
      ;; Not evaluated by Eshell's own evaluator, which takes our place.
      (no-catch
       (smtps-eshell-setup)
       (user-error "This Eshell is older than its smtps command; now it knows it, so try again")))))

;;;###autoload
(defun eshell/smtps (&rest args)
  "Run the command `smtps' with ARGS: a host or a verb, and its words.
The verbs are session, send, check, base64, outbox and sandbox;
--help tells of them."
  (let ((words (mapcar (lambda (word) (format "%s" word)) (flatten-tree args))))
    (smtps-base64-door t
      (pcase words
        (`("base64" ,(or "-d" "--decode") ,(and text (guard (not (string-prefix-p "-" text)))))
         (smtps-base64-decode-string text))
        (`("base64" ,(and text (guard (not (string-prefix-p "-" text)))))
         (smtps-base64-encode-string text))
        (_ (smtps-eshell--run words))))))

;; The text 007 is not the number 7.
(put 'eshell/smtps 'eshell-no-numeric-conversions t)

(provide 'smtps-eshell)
;;; smtps-eshell.el ends here
