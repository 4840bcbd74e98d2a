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
(require 'subr-x)
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

(defun smtps-undo--can-p (entry)
  "Return non-nil if ENTRY waits for its time, and nobody has got it."
  (and (smtps-outbox-delayed-p entry)
       ;; A server that was to hold it may have it.
       (not (plist-get entry :uncertain))
       (not (smtps-afterwork-accepted-p entry))))

(defun smtps-undo--chosen ()
  "Return the mail to take back: this buffer's, or the last that can be.
Ask, if that isn't the one that was sent last."
  (if smtps-send--entry
      (smtps-undo--own (smtps-outbox-find smtps-send--entry))
    (let* ((entries (cl-remove-if-not #'smtps-undo--can-p
                                      (smtps-outbox-entries '(queue))))
           (newest (car (last entries)))
           (entry (or (cl-find smtps-send--last entries :test #'equal
                               :key (lambda (entry) (plist-get entry :id)))
                      newest
                      (user-error "No mail waits that could be taken back"))))
      (unless (or (equal (plist-get entry :id) smtps-send--last)
                  (yes-or-no-p
                   (format "%s is not the mail that was sent last.  Take it back? "
                           (smtps-undo--name entry))))
        (user-error "Nothing was taken back"))
      entry)))

(defun smtps-undo--own (entry)
  "Return ENTRY, the mail of the current buffer; signal if it can't be taken back.
Another one is never meant here."
  (cond ((null entry)
         (user-error "This mail is no longer in the outbox"))
        ((smtps-undo--can-p entry) entry)
        ((eq (plist-get entry :state) 'held)
         (user-error "This mail is held: it is not sent before you say so"))
        ((eq (plist-get entry :state) 'failed)
         (user-error "This mail could not be sent: M-x smtps-outbox tells why"))
        ((and (eq (plist-get entry :state) 'queue)
              (not (smtps-afterwork-accepted-p entry)))
         (user-error "This mail waits to be sent: e in M-x smtps-outbox takes it back"))
        (t
         (user-error "It is too late: this mail %s"
                     (if (eq (plist-get entry :state) 'sent) "was sent"
                       "is being sent")))))

(defun smtps-undo--name (entry)
  "Return what a person knows ENTRY by: its subject and its recipients."
  (let ((subject (smtps-send--subject (plist-get entry :directory)))
        (to (smtps-send--visible
             (string-join (plist-get entry :recipients) ", "))))
    (if subject (format "“%s” to %s" subject to)
      (format "The mail to %s" to))))

;;;###autoload
(defun smtps-undo-send ()
  "Take back the mail of this buffer, or the last one, that waits for its time.
In a buffer whose mail has left, no other is taken back.  Elsewhere, it is
asked before one is that is not the last that was sent.

The buffer that it was composed in comes back as it was; after a restart
one is made of the mail, without its undo history.  Until it is sent again,
the mail stays in the outbox, held."
  (interactive)
  (let* ((entry (smtps-send--door (smtps-undo--chosen)))
         (id (plist-get entry :id))
         (told (format "Taken back, not sent: %s" (smtps-undo--name entry))))
    (unless (smtps-send--door (smtps-outbox-move id 'queue 'held))
      (user-error "It is too late: the mail is being sent"))
    (require 'smtps-outbox-edit)
    (condition-case problem
        (let ((buffer (smtps-outbox-edit-buffer (smtps-outbox-find id) t told)))
          (when buffer (pop-to-buffer buffer)))
      ;; It is taken back all the same.
      ((error quit)
       (smtps-send-tell
        (format-message
         "%s.  %s" told
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
