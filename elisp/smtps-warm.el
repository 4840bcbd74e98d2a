;;; smtps-warm.el --- Connect while a mail is being composed  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; While a mail is composed, and whenever its writer pauses, the helper is
;; told to connect and log in ahead, or to keep the connection alive; then
;; sending takes one round trip.  All of it happens in idle moments, and
;; what is begun in one gives way to the next key.
;;
;; Nothing is asked: without a password in memory, or in a file that is
;; not encrypted, nothing is opened.  That a refused login is not repeated,
;; and how often a connection is opened, is seen to by the helper.

;;; Code:

(require 'cl-lib)
(require 'smtps)

(declare-function smtps-credentials-at-hand "smtps-credentials" (account))
(declare-function smtps-helper-call "smtps-helper")
(declare-function smtps-route--fields "smtps-route" ())
(declare-function smtps-send--by "smtps-send" (account author))
(declare-function smtps-outbox--directory "smtps-outbox" (&rest names))
(declare-function smtps-outbox-account-form "smtps-outbox" (account))
(declare-function smtps-send--listen "smtps-send" ())
(declare-function smtps-send-addresses "smtps-send" (text field))
(defvar smtps-send--entry)

(defconst smtps-warm--pause 1
  "Seconds without a key after which a writer has paused.")

(defconst smtps-warm--again 5
  "Seconds from one call of the helper to the next.
A connection is taken for alive a few seconds longer than that.")

(defvar-local smtps-warm--composing nil
  "Non-nil if a connection is opened ahead for the mail in this buffer.")

(defvar smtps-warm--timer nil
  "The timer that runs when the writer of a mail pauses, or nil.")

(defvar smtps-warm--called nil
  "When the helper was called last, or nil.")

;;;###autoload
(defun smtps-warm-compose ()
  "Have a connection opened ahead, later, for the mail composed in this buffer.
`smtps-mode' has this done for each buffer that a mail is composed in."
  (when smtps-warm-while-composing
    (setq smtps-warm--composing t)
    (unless smtps-warm--timer
      (setq smtps-warm--timer
            (run-with-idle-timer smtps-warm--pause t #'smtps-warm--paused)))))

(defun smtps-warm--paused ()
  "Open a connection ahead if a mail is being composed in the current buffer."
  (let ((buffer (window-buffer)))
    (cond
     ((not (and smtps-mode smtps-warm-while-composing
                (cl-some #'smtps-warm--composing-p (buffer-list))))
      (cancel-timer smtps-warm--timer)
      (setq smtps-warm--timer nil))
     ((and (smtps-warm--composing-p buffer)
           (or (null smtps-warm--called)
               (time-less-p smtps-warm--again
                            (time-subtract nil smtps-warm--called))))
      ;; Loading, and reading a password file, give way to a key.
      (let ((account (while-no-input
                       (with-current-buffer buffer (smtps-warm--account)))))
        (when (consp account)
          (smtps-warm--call account buffer)))))))

(defun smtps-warm--composing-p (buffer)
  "Return non-nil if a mail is composed in BUFFER, and was not sent."
  (and (buffer-local-value 'smtps-warm--composing buffer)
       (not (and (boundp 'smtps-send--entry)
                 (buffer-local-value 'smtps-send--entry buffer)))))

(defun smtps-warm--account ()
  "Return the account of the mail in the current buffer, if it is to be warmed.
That is one whose password is at hand."
  (require 'smtps-send)
  (require 'smtps-route)
  ;; It is needed next, where no key is waited for.
  (require 'smtps-helper)
  (ignore-error smtps-error
    (let* ((from (car (smtps-send-addresses (or (car (smtps-route--fields)) "") "From")))
           (account (and from (smtps-send--by (smtps-account-for from) from))))
      (and account
           ;; Its key may want a passphrase.
           (not (plist-get account :client-certificate))
           (smtps-credentials-at-hand account)
           account))))

(defun smtps-warm--call (account buffer)
  "Have the helper open a connection to ACCOUNT for the mail in BUFFER."
  (setq smtps-warm--called (current-time))
  (smtps-send--listen)
  (smtps-helper-call
   'warm (list :outbox (smtps-outbox--directory)
               :account (smtps-outbox-account-form account))
   :then #'ignore
   ;; Who sends is told what is wrong.
   :else (lambda (_)
           (when (buffer-live-p buffer)
             (with-current-buffer buffer
               (setq smtps-warm--composing nil))))))

(provide 'smtps-warm)
;;; smtps-warm.el ends here
