;;; smtps-undo.el --- Take a mail back that waits for its time  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A mail that is sent with a delay, or for a later hour, lies in queue/
;; with the time in its envelope, which whoever drains the outbox obeys:
;; it goes then, whether this Emacs still runs or not.  To take it back is
;; to rename it into held/, which one of the two does first.

;;; Code:

(require 'cl-lib)
(require 'smtps)
(require 'smtps-outbox)
(require 'smtps-afterwork)
(require 'smtps-send)

(declare-function smtps-outbox-edit-buffer "smtps-outbox-edit"
                  (entry taken &optional sentence))
(declare-function message-narrow-to-headers "message" ())
(declare-function message-remove-header "message"
                  (header &optional is-regexp first reverse))
(declare-function message-set-auto-save-file-name "message" ())
(defvar message-buffer-list)
(defvar message-kill-buffer-on-exit)
(defvar message-sent-message-via)

(defvar-local smtps-undo--kept nil
  "Non-nil if this buffer would have been killed when its mail was sent.")

;;;###autoload
(defun smtps-undo-keep (id &optional time)
  "Keep the current buffer, from which the mail ID is being sent, until TIME.
Without TIME, or if it is needed longer, `smtps-undo-let-go' ends that."
  (when (bound-and-true-p message-kill-buffer-on-exit)
    (setq-local message-kill-buffer-on-exit nil)
    (setq smtps-undo--kept t))
  (when (and smtps-undo--kept time)
    ;; A mere number would be one of seconds from now.
    (run-at-time (time-convert time 'list) nil #'smtps-undo-let-go (current-buffer) id)))

;;;###autoload
(defun smtps-undo-let-go (buffer id)
  "Kill BUFFER, since its mail ID has gone, unless somebody sees to it.
That is so only if it was kept for that mail, and is needed no more."
  (when (and (buffer-live-p buffer)
             (buffer-local-value 'smtps-undo--kept buffer)
             (not (smtps-afterwork-needs-buffer-p id))
             (equal (buffer-local-value 'smtps-send--entry buffer) id)
             (not (buffer-modified-p buffer))
             (not (get-buffer-window buffer t)))
    (kill-buffer buffer)))

(defun smtps-undo--last ()
  "Return the mail that can be taken back: this buffer's, or the last one."
  (let ((entries (cl-remove-if-not
                  (lambda (entry)
                    (and (smtps-outbox-delayed-p entry)
                         ;; A server that was to hold it may have it.
                         (not (plist-get entry :uncertain))
                         (not (smtps-afterwork-accepted-p entry))))
                  (smtps-outbox-entries '(queue)))))
    (or (cl-find smtps-send--entry entries
                 :key (lambda (entry) (plist-get entry :id)) :test #'equal)
        (car (last entries)))))

;;;###autoload
(defun smtps-undo-send ()
  "Take back the mail of this buffer, or the last one, that waits for its time.
The buffer that it was composed in comes back as it was; after a restart
one is made of the mail, without its undo history.  Until it is sent again,
the mail stays in the outbox, held."
  (interactive)
  (let* ((entry (or (smtps-undo--last)
                    (user-error "No mail waits that could be taken back")))
         (id (plist-get entry :id)))
    (unless (smtps-outbox-move id 'queue 'held)
      (user-error "It is too late: the mail is being sent"))
    (require 'smtps-outbox-edit)
    (condition-case problem
        (let ((buffer (smtps-outbox-edit-buffer (smtps-outbox-find id) t
                                                "Taken back: nothing was sent")))
          (when buffer (pop-to-buffer buffer)))
      ;; It is taken back all the same.
      ((error quit)
       (smtps-send-tell
        (format-message
         "Taken back: nothing was sent.  %s"
         (if (or (eq (car problem) 'quit) (not (stringp (cadr problem))))
             "The mail is held in the outbox; in M-x smtps-outbox, e edits it, d deletes it"
           (cadr problem))))))))

(defun smtps-undo--remove-generated ()
  "Remove Date and Message-ID if message.el has made them.
The mail will have those of the time when it is sent."
  (save-excursion
    (save-restriction
      (message-narrow-to-headers)
      (dolist (header '("Date" "Message-ID"))
        (goto-char (point-min))
        (when (and (re-search-forward (concat "^" header ":") nil t)
                   (get-text-property (match-beginning 0) 'message-deletable))
          (message-remove-header header))))))

(defun smtps-undo-restore (buffer id)
  "Make BUFFER, from which the mail ID was sent, one that composes it again."
  (with-current-buffer buffer
    (smtps-afterwork-give-back)
    (setq smtps-send--entry nil
          smtps-send-replaces id)
    (when smtps-undo--kept
      (setq smtps-undo--kept nil)
      (kill-local-variable 'message-kill-buffer-on-exit))
    (when (derived-mode-p 'message-mode)
      (setq message-sent-message-via nil
            message-buffer-list (delq buffer message-buffer-list))
      (when (string-match "\\`\\*sent \\(.*\\)" (buffer-name))
        (rename-buffer (concat "*unsent " (match-string 1 (buffer-name))) t))
      (smtps-undo--remove-generated)
      ;; Its draft, if Gnus has one, is still its own.
      (unless (bound-and-true-p message-draft-article)
        (message-set-auto-save-file-name)))
    (set-buffer-modified-p t)))

(provide 'smtps-undo)
;;; smtps-undo.el ends here
