;;; smtps-route.el --- By which account a mail goes, shown before  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; Where there are several accounts, From chooses one of them.  Which, is
;; shown in the header line of the buffer that a mail is composed in,
;; whenever its writer pauses: so nobody learns it from the recipients.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps)

(declare-function smtps-send--line "smtps-send" (text))
(declare-function smtps-send--chosen-account "smtps-send" (fields author))
(declare-function smtps-send-addresses "smtps-send" (text field))
(defvar mail-header-separator)
(defvar smtps-send--entry)
(defvar smtps-send-inherited)

(defconst smtps-route--pause 0.3
  "Seconds without a key after which a writer sees where the mail goes.")

(defvar-local smtps-route--composing nil
  "Non-nil if it is shown by which account the mail in this buffer goes.")

(defvar-local smtps-route--text nil
  "What the header line has from us, or nil.")

(defvar smtps-route--timer nil
  "The timer that runs when the writer of a mail pauses, or nil.")

;;;###autoload
(defun smtps-route-show ()
  "Show the account by which the mail composed in this buffer will be sent.
`smtps-mode' has this done for each buffer that a mail is composed in."
  (setq smtps-route--composing t)
  (unless smtps-route--timer
    (setq smtps-route--timer
          (run-with-idle-timer smtps-route--pause t #'smtps-route--paused))))

(defun smtps-route--paused ()
  "Show the account of the mail in the selected window, if it has one."
  (if (not (and smtps-mode
                (cl-some (lambda (buffer)
                           (buffer-local-value 'smtps-route--composing buffer))
                         (buffer-list))))
      (progn
        (cancel-timer smtps-route--timer)
        (setq smtps-route--timer nil))
    (with-current-buffer (window-buffer)
      (when smtps-route--composing
        ;; The accounts file may have to be read.
        (let ((text (while-no-input (list (smtps-route--text)))))
          (when (consp text)
            (smtps-route--put (car text))))))))

(defun smtps-route--put (text)
  "Show TEXT, or nothing if nil, in the header line, unless others use it."
  (when (and (not (equal-including-properties text smtps-route--text))
             (equal header-line-format smtps-route--text))
    (setq header-line-format text
          smtps-route--text text)
    (force-mode-line-update)))

(defun smtps-route--fields ()
  "Return the values of From and X-Message-SMTP-Method in the current buffer."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char (point-min))
      (when (re-search-forward
             (concat "^" (regexp-quote mail-header-separator) "$") nil t)
        (narrow-to-region (point-min) (match-beginning 0))
        (cons (mail-fetch-field "From")
              (mail-fetch-field "X-Message-SMTP-Method"))))))

(defun smtps-route--text ()
  "Return what is to be shown of the mail in the current buffer, or nil."
  (require 'smtps-send)
  (unless smtps-send--entry
    (pcase-let ((`(,from . ,method) (smtps-route--fields)))
      (condition-case problem
          (when (or method smtps-send-inherited (cdr (smtps-known-accounts)))
            (smtps-route--in-words
             (smtps-send--chosen-account
              (and method `(("x-message-smtp-method" ,method)))
              ;; mail-mode adds From when the mail is sent.
              (or (car (smtps-send-addresses (or from "") "From"))
                  user-mail-address))))
        (smtps-account-error
         (smtps-route--line
          ;; Who still writes knows that nothing was sent.
          (string-remove-suffix "  Nothing was sent." (cadr problem))
          'warning))
        ;; From is being typed.
        (smtps-error nil)))))

(defun smtps-route--in-words (account)
  "Return what is shown of ACCOUNT, a plist as from `smtps-account-for'."
  (smtps-route--line
   (concat "Goes by "
           (and (plist-get account :name)
                (format "account %s: " (plist-get account :name)))
           (plist-get account :host)
           (and (plist-get account :user)
                (format ", as %s" (plist-get account :user))))
   'default))

(defun smtps-route--line (text face)
  "Return TEXT in FACE for a header line."
  ;; A percent sign in a name is not a construct of the line.
  (propertize (replace-regexp-in-string "%" "%%" (smtps-send--line text))
              'face face))

(provide 'smtps-route)
;;; smtps-route.el ends here
