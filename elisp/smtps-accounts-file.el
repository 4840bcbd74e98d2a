;;; smtps-accounts-file.el --- The accounts file of the command line  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; Author: The smtps authors
;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Where `smtps-accounts' is nil, the accounts are those of accounts.toml,
;; which the command `smtps' uses, too.  The helper reads that file, since
;; Python comes with a reader of TOML and Emacs does not; what it says is
;; kept until the file changes.

;;; Code:

(require 'smtps)
(require 'smtps-helper)



(defconst smtps-accounts-file--patience 10
  "Seconds that the helper has to start and to read the file.
Both take a tenth of one; a machine that has just woken takes longer.")

(defvar smtps-accounts-file--known nil
  "What the file said when it was read last: (STAMP . ACCOUNTS), or nil.")

(defun smtps-accounts-file ()
  "Return the name of the accounts file, whether it is there or not."
  (smtps--xdg "XDG_CONFIG_HOME" "~/.config" "accounts.toml"))

(defun smtps-accounts-file--stamp (file)
  "Return a value that stands for the contents of FILE, nil if there is none."
  (let ((attributes (file-attributes file)))
    (and attributes
         (list file
               (file-attribute-modification-time attributes)
               (file-attribute-size attributes)
               (file-attribute-inode-number attributes)
               ;; What the helper refuses to read by these may be mended.
               (file-attribute-modes attributes)
               (file-attribute-user-id attributes)))))

;;;###autoload
(defun smtps-accounts-file-read ()
  "Return the accounts of the accounts file, as `smtps-accounts' has them.
Return nil where there is no such file, or no account in it.  Wait for the
helper where the file is new or has changed.  Signal `smtps-account-error'
if it can't be read, or is not right."
  (let* ((file-name-handler-alist nil)
         (stamp (smtps-accounts-file--stamp (smtps-accounts-file))))
    (cond ((null stamp) nil)
          ((equal stamp (car smtps-accounts-file--known))
           (cdr smtps-accounts-file--known))
          (t
           (let ((accounts (mapcar (lambda (plist)
                                     (cons (plist-get plist :name) plist))
                                   (smtps-accounts-file--ask))))
             (setq smtps-accounts-file--known (cons stamp accounts))
             accounts)))))

(defun smtps-accounts-file--ask ()
  "Return the accounts in the file as plists, from the helper."
  (let ((deadline (time-add nil smtps-accounts-file--patience))
        answer)
    (smtps-helper-call 'accounts nil
                       :then (lambda (value) (setq answer (list value)))
                       :else (lambda (problem)
                               (setq answer (list nil (cadr problem)))))
    (while (and (null answer) (time-less-p nil deadline))
      (accept-process-output nil 0.05))
    (cond ((null answer)
           (smtps--refuse-account
            nil "%s could not be read: the helper does not answer."
            (abbreviate-file-name (smtps-accounts-file))))
          ((cadr answer)
           (smtps--refuse-account nil "%s" (cadr answer)))
          (t (car answer)))))

(provide 'smtps-accounts-file)
;;; smtps-accounts-file.el ends here
