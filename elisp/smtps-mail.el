;;; smtps-mail.el --- What mail-mode does after sending, done later  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The client `mail' of smtps-afterwork.el: the mail-mode of sendmail.el,
;; whose Fcc makes the file that it names, and `mail-send-actions'.

;;; Code:

(require 'cl-lib)
(require 'sendmail)
(require 'smtps-afterwork)

(declare-function smtps-message-path "smtps-message" (value))
(declare-function smtps-message-path-form "smtps-message"
                  (path field &optional create))

(defvar-local smtps-mail--deferred nil
  "The value of `mail-send-actions' for when this buffer's mail was accepted.")

(defun smtps-mail-buffer-p ()
  "Return non-nil if the current buffer is one of `mail-mode'."
  (derived-mode-p 'mail-mode))

(defun smtps-mail-collect ()
  "Return the forms for what `mail-mode' would do with the current buffer."
  (append
   (save-excursion
     (let ((case-fold-search t)
           (end (smtps-afterwork--header-end)))
       (goto-char (point-min))
       (cl-loop while (re-search-forward "^Fcc[ \t]*:[ \t]*\\(.*?\\)[ \t]*$" end t)
                for path = (match-string-no-properties 1)
                unless (string-empty-p path)
                collect (progn
                          ;; Both modes write the same kinds of files.
                          (require 'smtps-message)
                          (save-match-data
                            (smtps-message-path-form
                             (smtps-message-path path)
                             (format "Fcc: %s\n" path) t))))))
   (when (and mail-send-actions (smtps-afterwork-defers-functions-p))
     `((action :client mail :here ,(smtps-afterwork-here)
               :what "what mail-send-actions does")))))

(defun smtps-mail-take-over ()
  "Keep `mail-mode' from doing in the current buffer what is done later."
  (when (smtps-afterwork-defers-functions-p)
    (smtps-afterwork-take-variable 'smtps-mail--deferred mail-send-actions)
    (smtps-afterwork-take-variable 'mail-send-actions nil)))

(defun smtps-mail-carry-out (_form _file)
  "Run the actions of the buffer that the mail was composed in."
  (with-current-buffer (smtps-afterwork-composed-in)
    (let ((actions smtps-mail--deferred))
      (smtps-afterwork-give-back)
      (setq mail-send-actions nil)
      (pcase-dolist (`(,function . ,arguments) actions)
        (apply function arguments)))))

(provide 'smtps-mail)
;;; smtps-mail.el ends here
