;;; smtps-session-events.el --- What the helper tells of a session  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; Each event is shown in its session's buffer, and acknowledged: the helper
;; reads a server only as fast as it is shown.

;;; Code:

(require 'seq)
(require 'smtps-helper)
(require 'smtps-session-input)
(require 'smtps-session-steps)


(defconst smtps-session--acknowledge-every 16
  "Events after which the helper is told that they were shown.
It stops reading a server when 64 were not.")

(defvar-local smtps-session-event-functions nil
  "Functions called with each event of the helper when it has been shown.
Its argument is a plist, as the helper tells it.")

(defconst smtps-session--told-limit 100
  "Lines about the connection that are kept for whom they help to decide.
Each thing that a server does wrong is told, and it may do many.")

(defvar-local smtps-session--told nil
  "What was told about the connection since it was opened, the last first.")

(defun smtps-session--event (plist)
  "Show the helper's event PLIST in its session's buffer."
  (let* ((number (plist-get plist :session))
         (seq (plist-get plist :seq))
         (buffer (alist-get number smtps-session--buffers)))
    (unwind-protect
        (when (buffer-live-p buffer)
          (with-current-buffer buffer
            (save-restriction
              (widen)
              (smtps-session--show plist))
            (run-hook-with-args 'smtps-session-event-functions plist)))
      (when (zerop (% seq smtps-session--acknowledge-every))
        (smtps-helper-event 'session-ack (list :session number :seq seq))))))

(defun smtps-session--show (plist)
  "Show the event PLIST in this buffer."
  (let ((text (plist-get plist :text)))
    (pcase (plist-get plist :kind)
      ('info
       (setq smtps-session--told
             (seq-take (cons text smtps-session--told) smtps-session--told-limit))
       ;; What follows a login or STARTTLS that came to nothing may be secret.
       (when (plist-get plist :unsent)
         (setq smtps-session--pending nil))
       (smtps-session--insert text (smtps-session-look--info-face text)
                              (smtps-session--step plist)))
      ('send (let ((shown (if (plist-get plist :led) text
                            (smtps-session--left text (plist-get plist :secret)))))
               (smtps-session--insert
                (if (string= shown "") "send>" (concat "send> " shown))
                'smtps-session-send
                (append (list 'smtps-session-line (if (plist-get plist :secret) t shown))
                        (smtps-session--explained plist))
                (list (smtps-session-look--sent plist) nil))))
      ('recv (smtps-session--show-reply text (plist-get plist :code)
                                        (plist-get plist :decoded)
                                        (smtps-session--explained plist)
                                        (list (smtps-session-look--received plist)
                                              (plist-get plist :bare)))
             (smtps-session--tell-decoded plist))
      ('offers (setq smtps-session-offers (plist-get plist :offers)))
      ('state (smtps-session--stands plist))
      ('closed
       (unless (or (plist-get plist :error) smtps-session--hung-up)
         (smtps-session--insert (concat "recv> " text) 'smtps-session-info))
       (when (plist-get plist :key)
         (setq smtps-session--refused
               (list :host (plist-get smtps-session--arguments :host)
                     :port (plist-get smtps-session--arguments :port)
                     :key (plist-get plist :key)
                     :text (plist-get plist :message)
                     :lines (reverse smtps-session--told))))
       (smtps-session--closed (and (plist-get plist :error)
                                   (plist-get plist :message)))))))

(defun smtps-session--explained (plist)
  "Return text properties that tell of the line of the event PLIST."
  (append (and (plist-get plist :verb)
               (list 'smtps-explain-step (plist-get plist :verb)))
          (list 'smtps-session-at (plist-get plist :at))
          (smtps-session--step plist)))

(defun smtps-session--step (plist)
  "Return text properties that tell which step the event PLIST begins."
  (let ((step (smtps-session-steps--of (plist-get plist :kind) (plist-get plist :verb)
                                       (plist-get plist :text))))
    (and step (list 'smtps-session-step step))))

(defun smtps-session--show-reply (text code decoded properties wire)
  "Show the server's line TEXT, with CODE; DECODED is the text of a 334.
PROPERTIES are those of the line's text, WIRE as in `smtps-session--insert'."
  (when (and code (>= code 400) (smtps-session--login-p))
    ;; The helper sends nothing that was typed ahead for a login that failed.
    (setq smtps-session--pending nil))
  (smtps-session--insert (concat "recv> " (smtps-session-look--laid-out text))
                         (smtps-session-look--reply-face code)
                         (append (and decoded
                                      (list 'help-echo (format "In clear: %s" decoded)))
                                 properties)
                         wire))

(defconst smtps-session--decoded-limit 60
  "Columns that a question of the server may take in the echo area.")

(defun smtps-session--tell-decoded (plist)
  "Say in the echo area what the event PLIST is in clear, if it is a question.
Only who types the answer has to read it."
  (let ((decoded (plist-get plist :decoded)))
    (when (and decoded
               (not (string= decoded ""))
               (not (plist-get plist :led))
               ;; One that nothing asked for may be one of very many.
               (plist-get plist :verb)
               (get-buffer-window nil 'visible)
               (not (active-minibuffer-window)))
      (cl-flet ((short (text)
                  (truncate-string-to-width text smtps-session--decoded-limit
                                            nil nil t)))
        (message "%s is “%s”" (short (plist-get plist :text)) (short decoded))))))

(defun smtps-session--stands (plist)
  "Note where the dialogue stands: PLIST."
  (let ((due (smtps-session--due))
        (hidden (smtps-session--hidden-p)))
    (setq smtps-session-state (plist-get plist :state)
          smtps-session--owed (or (plist-get plist :owed) 0)
          smtps-session--data (plist-get plist :data)
          smtps-session-tls (plist-get plist :tls)
          smtps-session-mechanism (plist-get plist :mechanism))
    ;; While a reply is owed the helper can't know what it will ask for.
    (when (or (= smtps-session--owed 0) (null smtps-session--asked))
      (setq smtps-session--asked (plist-get plist :secret)
            smtps-session--answered (length smtps-session--pending)))
    (run-hooks 'smtps-session-stands-hook)
    (cond ((and due (not (smtps-session--due)))
           (smtps-session--erase-secret due))
          ((not (eq hidden (smtps-session--hidden-p)))
           (smtps-session--hide (smtps-session--mark) (point-max) 0)))
    (smtps-session--colour-prompt)
    (force-mode-line-update)))

(provide 'smtps-session-events)
;;; smtps-session-events.el ends here
